/**
 * DOM helpers. Text is only ever set as text: no script makes HTML of a string, and the page's policy has the browser
 * refuse it.
 */

/** Control and direction characters: they are invisible, or change the order of the text around them. */
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

/** @param {string} control */
const codePoint = (control) => `U+${(control.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/**
 * Create an element. Props that begin with `on` are event handlers; `true` is an attribute without a value; null and false
 * set none. Children are nodes, strings, or lists of them; null and false add none.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) Object.assign(node, { [name]: value });
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flatten(children));
  return node;
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
const flatten = (children) => children.flatMap((child) =>
  Array.isArray(child) ? flatten(child) : child === null || child === undefined || child === false ? [] : [child]);

/**
 * A user's text as a string, for an attribute or a title: control characters are replaced by their code points.
 * @param {unknown} text
 */
export const plainText = (text) => String(text ?? "").replace(CONTROLS, (control) => `[${codePoint(control)}]`);

/**
 * A user's text in an element that isolates its direction from the text around it. Control characters are made visible.
 * @param {unknown} text
 */
export const isolate = (text) => el("bdi", { dir: "auto" }, textNodes(text));

/**
 * A user's text as nodes, with visible control characters, without an element around them.
 * @param {unknown} text
 */
export function textNodes(text) {
  /** @type {(Node | string)[]} */
  const nodes = [];
  const source = String(text ?? "");
  let start = 0;
  for (const { 0: control, index } of source.matchAll(CONTROLS)) {
    nodes.push(source.slice(start, index), el("span", { class: "mark" }, codePoint(control)));
    start = index + control.length;
  }
  nodes.push(source.slice(start));
  return nodes.filter((node) => node !== "");
}

/**
 * A link to an address that a user gave. Any other scheme than http and https is rendered as text.
 * @param {string} address
 * @param {...Child} label
 */
export function externalLink(address, ...label) {
  const children = label.length ? label : [isolate(address)];
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") return el("span", {}, ...children);
  return el("a", { href: url.href, rel: "noopener noreferrer", target: "_blank", title: plainText(url.href) }, ...children);
}

/** @type {("onclick" | "onchange" | "oninput" | "onsubmit" | "ontoggle")[]} */
const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "ontoggle"];
/** Attributes that the reader changes by hand. A refresh leaves them alone. */
const READER_STATE = new Set(["open"]);

/**
 * Update the children of `parent` to match `children` with as few changes as possible: an element that stays is the same
 * element, so it keeps focus, selection and scrolling. Elements with the same `data-key` are the same.
 * @param {Element} parent
 * @param {...Child} children
 */
export function render(parent, ...children) {
  morphChildren(parent, flatten(children).map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
}

/** @param {Node | null} node */
const keyOf = (node) => (node instanceof HTMLElement ? node.dataset.key : undefined);

/**
 * @param {Element} parent
 * @param {Node[]} wanted
 */
function morphChildren(parent, wanted) {
  /** @type {Map<string, Node>} */
  const keyed = new Map();
  const wantedKeys = new Set(wanted.map(keyOf));
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (!key) continue;
    if (wantedKeys.has(key)) keyed.set(key, child);
    else child.remove();
  }
  /** @type {Node | null} */
  let position = parent.firstChild;
  for (const child of wanted) {
    const key = keyOf(child);
    const same = key ? keyed.get(key) : position && !keyOf(position) && isSameKind(position, child) ? position : null;
    if (!same || !isSameKind(same, child)) {
      parent.insertBefore(child, position);
      continue;
    }
    if (same === position) position = position.nextSibling;
    else parent.insertBefore(same, position);
    morph(same, child);
  }
  while (position) {
    const next = position.nextSibling;
    parent.removeChild(position);
    position = next;
  }
}

/** @type {(one: Node, other: Node) => boolean} */
const isSameKind = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

/**
 * @param {Node} old
 * @param {Node} next
 */
function morph(old, next) {
  if (old instanceof Text && next instanceof Text) {
    if (old.data !== next.data) old.data = next.data;
  }
  if (!(old instanceof HTMLElement && next instanceof HTMLElement)) return;
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !READER_STATE.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (old.getAttribute(name) !== value && !READER_STATE.has(name)) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== next[name]) Object.assign(old, { [name]: next[name] });
  morphChildren(old, [...next.childNodes]);
}

/**
 * The element of the page with this id, of this type (by default any HTML element). Throws TypeError without one.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [type]
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (element instanceof (type ?? HTMLElement)) return /** @type {T} */ (element);
  throw new TypeError(`the page has no ${type?.name ?? "element"} with the id ${id}`);
}
