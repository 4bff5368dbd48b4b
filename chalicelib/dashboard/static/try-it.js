/** A form that sends a request to the API, with the user's session or with a token, and displays the response. */

import { runExclusive } from "./actions.js";
import { NetworkError, root, send } from "./api.js";
import { el, render, textNodes } from "./dom.js";

const DISPLAYED_HEADERS = ["content-type", "retry-after", "x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "location", "upload-offset"];

/** @typedef {{ path: string, query: Record<string, string>, headers: Record<string, string>, body: string | undefined }} Call */

/**
 * The form for one operation. `example` is the body to start from; `loggedIn`: whether the browser has a session.
 * @param {OpenApi.Operation} operation
 * @param {unknown} example
 * @param {boolean} loggedIn
 */
export function tryIt(operation, example, loggedIn) {
  const { operationId, method } = operation;
  const inputs = operation.parameters.map((parameter) => ({ parameter, input: inputFor(parameter, `${operationId}-${parameter.name}`) }));
  const body = example === undefined || example === null ? null : bodyField(`${operationId}-body`, JSON.stringify(example, null, 2));
  const token = el("input", { id: `${operationId}-token`, type: "password", autocomplete: "off", spellcheck: "false",
    placeholder: loggedIn ? "your session is used" : "Bearer token" });
  const outcome = el("div", { class: "outcome", role: "status" });
  const button = el("button", { type: "submit", class: method === "GET" ? "primary" : "danger" }, `Send ${method}`);
  const needsToken = (operation.security ?? []).length > 0;

  const form = el("form", { class: "try stack" },
    inputs.length ? el("div", { class: "pair" }, inputs.map(({ parameter, input }) => el("div", {},
      el("label", { for: input.id }, parameter.name, parameter.required ? el("span", { class: "hint" }, " required") : null), input))) : null,
    body ? [el("label", { for: body.id }, "Body"), body] : null,
    needsToken ? [el("label", { for: token.id }, "Token ", el("span", { class: "hint" }, loggedIn ? "optional" : "")), token] : null,
    el("div", { class: "row" }, button, el("span", { class: "hint" }, method === "GET" ? "" : "This sends a real request, which changes your data.")),
    outcome);

  /** @returns {Call} */
  const readCall = () => {
    let { path } = operation;
    /** @type {Record<string, string>} */
    const query = {};
    /** @type {Record<string, string>} */
    const headers = {};
    for (const { parameter: { name, in: location }, input: { value } } of inputs) {
      if (location === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
      else if (value !== "" && location === "query") query[name] = value;
      else if (value !== "") headers[name] = value;
    }
    if (token.value) headers.Authorization = `Bearer ${token.value}`;
    return { path, query, headers, body: body?.value };
  };

  async function sendCall() {
    const call = readCall();
    const startedAt = performance.now();
    const response = await send(method, call.path, call);
    const text = await response.text();
    render(outcome, responseView(response, text, performance.now() - startedAt), curlCommand(method, call));
  }

  form.onsubmit = async (event) => {
    event.preventDefault();
    await runExclusive(button, sendCall).catch((error) => {
      if (!(error instanceof NetworkError)) throw error;
      render(outcome, el("p", { class: "bad" }, error.message));
    });
  };
  return form;
}

/** @type {(id: string, text: string) => HTMLTextAreaElement} */
function bodyField(id, text) {
  const area = el("textarea", { id, class: "code", rows: Math.min(12, text.split("\n").length + 1), spellcheck: "false" });
  area.value = text;
  return area;
}

/** @type {(parameter: OpenApi.Parameter, id: string) => HTMLInputElement | HTMLSelectElement} */
function inputFor({ schema = {}, required }, id) {
  if (schema.enum) {
    return el("select", { id }, el("option", { value: "" }, ""), schema.enum.map((value) => el("option", { value: String(value) }, String(value))));
  }
  const hint = schema.default === undefined || schema.default === null ? null : String(schema.default);
  return el("input", { id, required, placeholder: hint, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
}

/** @type {(response: Response, text: string, milliseconds: number) => HTMLElement} */
function responseView(response, text, milliseconds) {
  const headers = DISPLAYED_HEADERS.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
  return el("div", { class: "stack tight" },
    el("p", {}, el("span", { class: `code ${response.ok ? "fine" : "wrong"}` }, response.status ? String(response.status) : "redirected"), ` in ${Math.round(milliseconds)} ms`),
    el("pre", { class: "log short", tabindex: "0", "aria-label": "Response headers" }, headers.join("\n")),
    el("pre", { class: "log short", tabindex: "0", "aria-label": "Response body" }, textNodes(formatJson(text))));
}

/**
 * JSON with indentation; any other text unchanged.
 * @param {string} text
 */
function formatJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/**
 * The same request as a curl command, without the token.
 * @type {(method: string, call: Call) => HTMLElement}
 */
function curlCommand(method, { path, query, headers, body }) {
  const url = new URL(path.replace(/^\//, ""), root);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  /** @param {string} text */
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${quoted(url.href)}`, `-H "Authorization: Bearer $DEVFLOW_TOKEN"`];
  for (const [name, value] of Object.entries(headers)) if (name !== "Authorization") parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  return el("details", {}, el("summary", {}, "As a curl command"), el("pre", { class: "log short", tabindex: "0", "aria-label": "The curl command" }, parts.join(" \\\n  ")));
}
