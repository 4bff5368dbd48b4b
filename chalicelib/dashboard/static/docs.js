/** The API's documentation, made of its own OpenAPI document, with a form to try each call. */

import { get } from "./api.js";
import { at, el, show } from "./dom.js";
import { exampleOf, prose, reader, schemaOf } from "./schema.js";
import { whoAmI } from "./shell.js";
import { tryIt } from "./try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const NAMES = { auth: "Logging in", health: "Health", openapi: "This document", "openapi.json": "This document", stats: "Figures" };
const WHO = {
  userToken: "a user's token", sessionToken: "a user's token from a login", agentToken: "an agent's token", browser: "the session of this browser",
};

const me = await whoAmI({ anonymous: true });
const documentOf = await get("/api/openapi.json", {}, { anonymous: true });
const { resolve } = reader(documentOf);
const operations = Object.entries(documentOf.paths)
  .filter(([path]) => path.startsWith("/api/") || path === "/health") // the others are pages
  .flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({
    ...item[method], path, method: method.toUpperCase(), parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(resolve),
  })));

show(at("version"), documentOf.info.version);
show(at("about"), prose(documentOf.info.description), me ? null
  : el("p", { class: "notice" }, "Log in, and the calls below can be tried as you."));

const groups = Map.groupBy ? Map.groupBy(operations, group) : grouped();
function group(operation) {
  return operation.tags?.[0] ?? "";
}
function grouped() {
  const found = new Map();
  for (const one of operations) found.set(group(one), [...(found.get(group(one)) ?? []), one]);
  return found;
}

const title = (tag) => NAMES[tag] ?? tag.charAt(0).toUpperCase() + tag.slice(1);
const order = ["tasks", "workflows", "agents", "webhooks", "stats", "auth"];
const rank = (tag) => (order.includes(tag) ? order.indexOf(tag) : order.length);
const sorted = [...groups].sort(([one], [other]) => rank(one) - rank(other));

show(at("contents"), sorted.map(([tag, those]) => el("div", { class: "group" }, el("h2", {}, title(tag)),
  el("ul", {}, those.map((one) => el("li", { "data-id": one.operationId },
    el("a", { href: `#${one.operationId}`, onclick: () => open(one.operationId) }, one.summary)))))));
show(at("operations"), sorted.map(([tag, those]) => el("section", { "aria-labelledby": `group-${tag}` },
  el("h2", { id: `group-${tag}` }, title(tag)), those.map(shown))));

/** One operation; what is in it is made when it is opened. */
function shown(operation) {
  const box = el("details", { class: "operation card", id: operation.operationId, "data-id": operation.operationId },
    el("summary", {}, el("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method),
      el("code", {}, operation.path), el("span", { class: "summary" }, operation.summary)));
  box.ontoggle = () => {
    if (!box.open || box.childElementCount > 1) return;
    box.append(...inside(operation));
  };
  return box;
}

function inside(operation) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const who = (operation.security ?? []).flatMap((one) => Object.keys(one)).map((name) => WHO[name] ?? name);
  const whole = el("div", { class: "stack" },
    prose(operation.description ?? ""),
    el("p", { class: "hint" }, who.length ? `Needs ${[...new Set(who)].join(" or ")}.` : "Needs no token."),
    operation.parameters.length ? [el("h3", {}, "Parameters"), parameters(operation.parameters)] : null,
    body ? [el("h3", {}, "Body"), operation.requestBody.description ? el("p", { class: "hint" }, operation.requestBody.description) : null, schemaOf(body, resolve)] : null,
    el("h3", {}, "Answers"), answers(operation.responses),
    el("h3", {}, "Try it"), tryIt(operation, body && exampleOf(body, resolve), Boolean(me)));
  return [whole];
}

const parameters = (those) => el("dl", { class: "fields" }, those.map((one) => el("div", {},
  el("dt", {}, el("code", {}, one.name), el("span", { class: "hint" }, ` ${one.in}${one.required ? ", required" : ""}`)),
  el("dd", {}, prose(one.description ?? ""), schemaOf(one.schema, resolve)))));

function answers(responses) {
  return el("div", { class: "stack tight" }, Object.entries(responses).map(([code, given]) => {
    const answer = resolve(given);
    const schema = answer.content?.["application/json"]?.schema;
    return el("details", { class: "answer" },
      el("summary", {}, el("span", { class: `code ${code < "400" ? "fine" : "wrong"}` }, code), " ",
        code < "400" ? "Success" : titles(schema).join(", ") || answer.description),
      code < "400" ? null : prose(answer.description), schema ? schemaOf(schema, resolve) : null);
  }));
}

const titles = (schema) => schema?.properties?.error?.enum ?? [];

/** Only what has these words, in its name, address, kind or answers. */
at("find").oninput = () => {
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const operation of operations) {
    const text = JSON.stringify([operation.summary, operation.path, operation.method, Object.keys(operation.responses)]).toLowerCase();
    for (const node of document.querySelectorAll(`[data-id="${CSS.escape(operation.operationId)}"]`)) {
      node.hidden = !words.every((word) => text.includes(word));
    }
  }
  for (const section of document.querySelectorAll("#operations > section, #contents > .group")) {
    section.hidden = !section.querySelector("[data-id]:not([hidden])");
  }
};

function open(id) {
  const box = at(id);
  if (!box?.classList.contains("operation")) return;
  box.open = true;
}

const asked = decodeURIComponent(location.hash.slice(1));
if (asked && at(asked)) {
  open(asked);
  at(asked).scrollIntoView();
}
