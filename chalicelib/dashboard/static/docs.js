/** The API reference, generated from the OpenAPI document, with a form to try each operation. */

import { get } from "./api.js";
import { byId, el, render } from "./dom.js";
import { exampleOf, prose, refResolver, schemaView } from "./json-schema.js";
import { loadUser } from "./session.js";
import { tryIt } from "./try-it.js";

/** @typedef {OpenApi.Operation} Operation */

const METHODS = /** @type {const} */ (["get", "post", "put", "patch", "delete"]);
const TAG_ORDER = ["tasks", "workflows", "agents", "webhooks", "stats", "auth"];
/** @type {Record<string, string>} */
const TAG_TITLES = { auth: "Authentication", openapi: "OpenAPI document", "openapi.json": "OpenAPI document", stats: "Statistics" };
/** @type {Record<string, string>} */
const CREDENTIALS = {
  userToken: "a user's token", sessionToken: "a user's token from a login", agentToken: "an agent's token", browser: "this browser's session",
};

const me = await loadUser({ anonymous: true });
/** @type {OpenApi.Document} */
const openapi = await get("/api/openapi.json", {}, { anonymous: true });
const { resolve } = refResolver(openapi);
const isApi = (/** @type {string} */ path) => path.startsWith("/api/") || path === "/health"; // the other paths are pages

/** @type {Operation[]} */
const operations = Object.entries(openapi.paths).filter(([path]) => isApi(path)).flatMap(([path, item]) => METHODS.flatMap((method) => {
  const operation = item[method];
  if (!operation) return [];
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) => resolve(parameter));
  return [{ ...operation, path, method: method.toUpperCase(), parameters }];
}));

/** @type {Map<string, Operation[]>} */
const byTag = new Map();
for (const operation of operations) {
  const tag = operation.tags?.[0] ?? "";
  byTag.set(tag, [...(byTag.get(tag) ?? []), operation]);
}
const rank = (/** @type {string} */ tag) => (TAG_ORDER.includes(tag) ? TAG_ORDER.indexOf(tag) : TAG_ORDER.length);
const groups = [...byTag].sort(([one], [other]) => rank(one) - rank(other));
const titleOf = (/** @type {string} */ tag) => TAG_TITLES[tag] ?? tag.charAt(0).toUpperCase() + tag.slice(1);

render(byId("version"), openapi.info.version);
render(byId("about"), prose(openapi.info.description), me ? null
  : el("p", { class: "notice" }, "Log in to send the requests below with your session."));
render(byId("contents"), groups.map(([tag, its]) => el("div", { class: "group" }, el("h2", {}, titleOf(tag)),
  el("ul", {}, its.map(({ operationId, summary }) => el("li", { "data-id": operationId },
    el("a", { href: `#${operationId}`, onclick: () => expand(operationId) }, summary)))))));
render(byId("operations"), groups.map(([tag, its]) => el("section", { "aria-labelledby": `group-${tag}` },
  el("h2", { id: `group-${tag}` }, titleOf(tag)), its.map(operationBox))));

/**
 * One operation. Its content is created when it is expanded.
 * @param {Operation} operation
 */
function operationBox(operation) {
  const box = el("details", { class: "operation card", id: operation.operationId, "data-id": operation.operationId },
    el("summary", {}, el("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method),
      el("code", {}, operation.path), el("span", { class: "summary" }, operation.summary)));
  box.ontoggle = () => {
    if (box.open && box.childElementCount === 1) box.append(operationContent(operation));
  };
  return box;
}

/** @param {Operation} operation */
function operationContent(operation) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const schemes = (operation.security ?? []).flatMap((scheme) => Object.keys(scheme));
  const credentials = [...new Set(schemes.map((name) => CREDENTIALS[name] ?? name))];
  return el("div", { class: "stack" },
    prose(operation.description ?? ""),
    el("p", { class: "hint" }, credentials.length ? `Requires ${credentials.join(" or ")}.` : "Requires no token."),
    operation.parameters.length ? [el("h3", {}, "Parameters"), parameterList(operation.parameters)] : null,
    body ? [el("h3", {}, "Body"), operation.requestBody?.description ? el("p", { class: "hint" }, operation.requestBody.description) : null, schemaView(body, resolve)] : null,
    el("h3", {}, "Responses"), responseList(operation.responses),
    el("h3", {}, "Try it"), tryIt(operation, body && exampleOf(body, resolve), Boolean(me)));
}

/** @param {OpenApi.Parameter[]} parameters */
const parameterList = (parameters) => el("dl", { class: "fields" }, parameters.map((parameter) => el("div", {},
  el("dt", {}, el("code", {}, parameter.name), el("span", { class: "hint" }, ` ${parameter.in}${parameter.required ? ", required" : ""}`)),
  el("dd", {}, prose(parameter.description ?? ""), schemaView(parameter.schema, resolve)))));

/** @param {Record<string, OpenApi.Response>} responses */
function responseList(responses) {
  return el("div", { class: "stack tight" }, Object.entries(responses).map(([status, given]) => {
    const response = resolve(given);
    const schema = response.content?.["application/json"]?.schema;
    const isSuccess = status < "400";
    return el("details", { class: "response" },
      el("summary", {}, el("span", { class: `code ${isSuccess ? "fine" : "wrong"}` }, status), " ",
        isSuccess ? "Success" : errorTitles(schema).join(", ") || response.description),
      isSuccess ? null : prose(response.description), schema ? schemaView(schema, resolve) : null);
  }));
}

/** @param {OpenApi.Schema | undefined} schema */
const errorTitles = (schema) => schema?.properties?.error?.enum ?? [];

/** Search summaries, paths, methods and statuses. */
const searchField = byId("find", HTMLInputElement);
searchField.oninput = () => {
  const words = searchField.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const operation of operations) {
    const text = JSON.stringify([operation.summary, operation.path, operation.method, Object.keys(operation.responses)]).toLowerCase();
    for (const node of document.querySelectorAll(`[data-id="${CSS.escape(operation.operationId)}"]`)) {
      node.toggleAttribute("hidden", !words.every((word) => text.includes(word)));
    }
  }
  for (const section of document.querySelectorAll("#operations > section, #contents > .group")) {
    section.toggleAttribute("hidden", !section.querySelector("[data-id]:not([hidden])"));
  }
};

/**
 * Expand an operation, and return it. Undefined if there is none with this id.
 * @param {string} id
 */
function expand(id) {
  const box = document.getElementById(id);
  if (!(box instanceof HTMLDetailsElement) || !box.classList.contains("operation")) return undefined;
  box.open = true;
  return box;
}

const target = decodeURIComponent(location.hash.slice(1));
if (target) expand(target)?.scrollIntoView();
