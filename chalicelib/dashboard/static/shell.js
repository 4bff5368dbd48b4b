/** What all pages have: who is logged in, where one is, short messages, questions, and texts to copy. */

import { Refused, call, get, isFlaw, leave, page } from "./api.js";
import { at, el, plain, said, show } from "./dom.js";

const here = document.documentElement.dataset.page;

for (const link of document.querySelectorAll("[data-for]")) {
  if (link.dataset.for.split(" ").includes(here)) link.setAttribute("aria-current", "page");
}

/**
 * Whoever is logged in (see GET /api/auth/me), asked for once a tab; null for nobody, where that is allowed. The page
 * itself says whether the browser sent a session along; without one there is nobody to ask for.
 */
export async function whoAmI({ anonymous = false } = {}) {
  let me = JSON.parse(sessionStorage.getItem("me") ?? "null");
  if (document.documentElement.dataset.session === "none") {
    if (!anonymous) await gone(me ? "expired" : "");
    me = null;
  } else if (!me) {
    me = await get("/api/auth/me", {}, { anonymous }).catch((error) => {
      if (error instanceof Refused && error.status === 401) return null;
      throw error;
    });
    if (me) sessionStorage.setItem("me", JSON.stringify(me));
  }
  const who = document.querySelector(".who");
  who.hidden = !me;
  if (me) show(who, said(me.user.name || me.user.email));
  document.querySelector(".enter").hidden = Boolean(me);
  return me;
}

async function gone(reason) {
  leave(reason);
  await new Promise(() => {}); // the page is going away
}

export async function logOut(everywhere = false) {
  await call("POST", "/api/auth/logout", { body: { everywhere }, anonymous: true });
  sessionStorage.clear();
  const login = new URL(page("login"));
  login.searchParams.set("reason", "out");
  location.replace(login);
}

/** A short message; read out by screen readers, gone after a while. */
export function say(text, kind = "good") {
  const toast = el("div", { class: `toast ${kind}` }, ...(typeof text === "string" ? [text] : text));
  at("toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 10_000 : 5_000);
}

/** Run what a button asks for, once at a time. Returns what it gives; undefined while it runs already. */
export async function busily(button, action) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  try {
    return await action();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** The same; what goes wrong is said, and undefined is returned. */
export async function doing(button, action) {
  try {
    return await busily(button, action);
  } catch (error) {
    say(reasons(error), "bad");
    if (isFlaw(error)) throw error;
    return undefined;
  }
}

/** What went wrong, and what the platform has to say about it in detail. */
export const reasons = (error) => [error.message, ...(error.details ?? []).map((detail) => el("div", {}, said(detail)))];

/**
 * Ask before something that cannot be undone. `fields`: elements between the question and the buttons. Resolves to
 * true, or false for Escape and "Keep".
 */
export function ask({ title, text, yes, no = "Back", danger = true, fields = [] }) {
  return new Promise((resolve) => {
    const agree = el("button", { class: danger ? "danger" : "primary", type: "submit", value: "yes" }, yes);
    const dialog = el("dialog", { "aria-labelledby": "ask-title" },
      el("form", { method: "dialog" },
        el("h2", { id: "ask-title" }, title),
        text ? el("p", {}, text) : null,
        fields,
        el("div", { class: "row end" }, no ? el("button", { type: "button", onclick: () => dialog.close("no") }, no) : null, agree)));
    dialog.onclose = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A text to copy, under a few words that say what it is, with a button that does. */
export function copyable(text, label) {
  const button = el("button", { class: "small", type: "button", "aria-label": `Copy: ${label}` }, "Copy");
  const shown = el("pre", { tabindex: "0", role: "group", "aria-label": label }, el("code", {}, text));
  const copied = el("span", { class: "visually-hidden", role: "status" });
  button.onclick = async () => {
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!done) getSelection().selectAllChildren(shown);
    copied.textContent = button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => {
      button.textContent = "Copy";
      copied.textContent = "";
    }, 3_000);
  };
  return el("div", { class: "copyable" }, el("div", { class: "line" }, el("span", { class: "hint" }, label), button), shown, copied);
}

/** A secret that is shown this once. */
export const showOnce = (title, text, secret, label, ...more) =>
  ask({ title, text, yes: "I have it", no: null, danger: false, fields: [copyable(secret, label), ...more] });

/** The page's heading and the window's title. */
export function entitle(name) {
  document.title = `${plain(name)} · DevFlow`;
}

/**
 * What a page of one task, agent or webhook is about: `path` is its address in the API, `load()` reads it. Where it is not
 * there, or is somebody else's (the two look the same), the page says so, and `load()` never ends.
 */
export function shown(what) {
  const id = decodeURIComponent(location.pathname.replace(/\/$/, "").split("/").at(-1));
  const path = `/api/${what}s/${encodeURIComponent(id)}`;
  const load = () => get(path).catch((error) => {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    show(at("main"), el("div", { class: "empty" },
      el("h1", {}, `There is no such ${what}`),
      el("p", {}, `You have no ${what} at this address. It may have been removed, or belong to somebody else.`),
      el("p", {}, el("a", { class: "button", href: page(`${what}s`) }, `All ${what}s`))));
    at("main").focus();
    return new Promise(() => {}); // nothing more to look at
  });
  return { id, path, load };
}
