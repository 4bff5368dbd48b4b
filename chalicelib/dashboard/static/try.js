/** A form that makes a call of the API, as whoever is logged in or with a token, and shows what came back. */

import { Unreachable, root, send } from "./api.js";
import { el, marked, show } from "./dom.js";
import { busily } from "./shell.js";

const SHOWN = ["content-type", "retry-after", "x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "location", "upload-offset"];

/** The form for one operation; `example` is the body to start from, `known` whether somebody is logged in. */
export function tryIt(operation, example, known) {
  const id = (name) => `${operation.operationId}-${name}`;
  const inputs = operation.parameters.map((one) => ({ ...one, input: input(one, id(one.name)) }));
  const body = example === undefined || example === null ? null
    : el("textarea", { id: id("body"), class: "code", rows: Math.min(12, JSON.stringify(example, null, 2).split("\n").length + 1), spellcheck: "false" });
  if (body) body.value = JSON.stringify(example, null, 2);
  const token = el("input", { id: id("token"), type: "password", autocomplete: "off", spellcheck: "false",
    placeholder: known ? "as you, by your session" : "Bearer token" });
  const outcome = el("div", { class: "outcome", role: "status" });
  const button = el("button", { type: "submit", class: operation.method === "GET" ? "primary" : "danger" }, `Send ${operation.method}`);
  const needsToken = (operation.security ?? []).length > 0;

  const form = el("form", { class: "try stack" },
    inputs.length ? el("div", { class: "pair" }, inputs.map((one) => el("div", {},
      el("label", { for: one.input.id }, one.name, one.required ? el("span", { class: "hint" }, " required") : null), one.input))) : null,
    body ? [el("label", { for: body.id }, "Body"), body] : null,
    needsToken ? [el("label", { for: token.id }, "Token ", el("span", { class: "hint" }, known ? "optional" : "")), token] : null,
    el("div", { class: "row" }, button, el("span", { class: "hint" }, operation.method === "GET" ? "" : "This is the real thing: it changes your data.")),
    outcome);

  const request = () => {
    let path = operation.path;
    const query = {};
    const headers = {};
    for (const one of inputs) {
      const value = one.input.value;
      if (one.in === "path") path = path.replace(`{${one.name}}`, encodeURIComponent(value));
      else if (value !== "" && one.in === "query") query[one.name] = value;
      else if (value !== "") headers[one.name] = value;
    }
    if (token.value) headers.Authorization = `Bearer ${token.value}`;
    return { path, query, headers, body: body ? body.value : undefined };
  };

  async function tried() {
    const asked = request();
    const started = performance.now();
    const answer = await send(operation.method, asked.path, asked);
    const text = await answer.text();
    show(outcome, cameBack(answer, text, performance.now() - started), asCurl(operation.method, asked));
  }

  form.onsubmit = async (event) => {
    event.preventDefault();
    await busily(button, tried).catch((error) => {
      if (!(error instanceof Unreachable)) throw error;
      show(outcome, el("p", { class: "bad" }, error.message));
    });
  };
  return form;
}

function input(parameter, id) {
  const schema = parameter.schema ?? {};
  if (schema.enum) {
    return el("select", { id }, el("option", { value: "" }, ""), schema.enum.map((one) => el("option", { value: one }, String(one))));
  }
  const hint = schema.default === undefined || schema.default === null ? null : String(schema.default);
  return el("input", { id, required: parameter.required, placeholder: hint, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
}

function cameBack(answer, text, took) {
  const headers = SHOWN.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
  return el("div", { class: "stack tight" },
    el("p", {}, el("span", { class: `code ${answer.ok ? "fine" : "wrong"}` }, answer.status ? String(answer.status) : "redirected"), ` in ${Math.round(took)} ms`),
    el("pre", { class: "log short", tabindex: "0", "aria-label": "The answer's headers" }, headers.join("\n")),
    el("pre", { class: "log short", tabindex: "0", "aria-label": "The answer's body" }, marked(pretty(text))));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The same call for a shell; the token stays out of it. */
function asCurl(method, { path, query, headers, body }) {
  const url = new URL(path.replace(/^\//, ""), root);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${quoted(url.href)}`, `-H "Authorization: Bearer $DEVFLOW_TOKEN"`];
  for (const [name, value] of Object.entries(headers)) if (name !== "Authorization") parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  return el("details", {}, el("summary", {}, "The same for a shell"), el("pre", { class: "log short", tabindex: "0", "aria-label": "The same call for a shell" }, parts.join(" \\\n  ")));
}
