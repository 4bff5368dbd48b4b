/**
 * Elements. Text is only ever set as text: nothing here, or anywhere, makes HTML of a string (and the page's policy
 * makes the browser refuse it).
 */

/** Control and direction marks: they would show as nothing, or turn what stands beside them around. */
const MARKS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

const named = (mark) => `U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/**
 * An element. `props`: `on…` are handlers, `true` is an attribute without a value, null and false are none.
 * Children are nodes, texts, or lists of them; null and false are none.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A text of somebody's, for an attribute or a title: marks are named. */
export const plain = (text) => String(text ?? "").replace(MARKS, (mark) => `[${named(mark)}]`);

/** A text of somebody's, as it is: set apart from what stands around it, in its own direction, its marks made visible. */
export function said(text, tag = "bdi") {
  return el(tag, { dir: "auto" }, ...marked(text));
}

/** The same without an element around it. */
export function marked(text) {
  const parts = [];
  const whole = String(text ?? "");
  let at = 0;
  for (const { 0: mark, index } of whole.matchAll(MARKS)) {
    parts.push(whole.slice(at, index), el("span", { class: "mark" }, named(mark)));
    at = index + mark.length;
  }
  parts.push(whole.slice(at));
  return parts.filter((part) => part !== "");
}

/** A link to an address that somebody gave: clickable only if it is http or https, else just its text. */
export function outward(address, ...label) {
  const children = label.length ? label : [said(address)];
  let url = null;
  try {
    url = new URL(address);
  } catch {
    // no address
  }
  if (url?.protocol !== "https:" && url?.protocol !== "http:") return el("span", {}, ...children);
  return el("a", { href: url.href, rel: "noopener noreferrer", target: "_blank", title: plain(url.href) }, ...children);
}

const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "ontoggle"];
/** What the reader does to a page by hand, and a refresh must leave alone. */
const KEPT = new Set(["open", "data-kept"]);

/**
 * Make what `parent` holds like `children`, changing as little as possible: what stays is the same element, so that
 * focus, selection and scrolling stay too. Elements with the same `data-key` are the same.
 */
export function show(parent, ...children) {
  const wanted = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  morphChildren(parent, wanted.map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
}

function morphChildren(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  const keys = new Set(wanted.map((child) => child.dataset?.key).filter(Boolean));
  for (const child of [...parent.childNodes]) {
    if (child.dataset?.key && !keys.has(child.dataset.key)) child.remove();
  }
  let at = parent.firstChild;
  for (const child of wanted) {
    const key = child.dataset?.key;
    const same = key ? keyed.get(key) : at && !at.dataset?.key && alike(at, child) ? at : null;
    if (!same || !alike(same, child)) {
      parent.insertBefore(child, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else parent.insertBefore(same, at);
    morph(same, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

function morph(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !KEPT.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (old.getAttribute(name) !== value && !KEPT.has(name)) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== next[name]) old[name] = next[name];
  if (!old.hasAttribute("data-kept")) morphChildren(old, [...next.childNodes]);
}

/** The element of the page with this id. */
export const at = (id) => document.getElementById(id);
