/**
 * The page that a magic link leads to. It logs in on a click only: mail scanners open every link, so opening it must not
 * use it up. The token is behind the `#`, which browsers send to no server.
 *
 * Before the click, the page names the account, because anybody can send somebody a link of their own account. It warns
 * where another browser requested the link, and where this browser is logged in to another account.
 */

import { runExclusive } from "./actions.js";
import { ApiError, get, isBug, pageUrl, post } from "./api.js";
import { byId, el, isolate, plainText, render } from "./dom.js";
import { describeError } from "./messages.js";

const token = location.hash.slice(1);
const button = byId("confirm", HTMLButtonElement);
const state = byId("state");

/**
 * The user who is logged in in this browser, or null.
 * @returns {Promise<Api.Me | null>}
 */
async function currentUser() {
  if (document.documentElement.dataset.session === "none") return null;
  return get("/api/auth/me", {}, { anonymous: true }).catch((error) => {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  });
}

/**
 * Send requests for this page, and render an error. The button repeats what failed, unless that cannot help.
 * @param {() => Promise<void>} send
 */
async function attempt(send) {
  try {
    await send();
  } catch (error) {
    render(state, el("p", {}, describeError(error)));
    const isFinal = error instanceof ApiError && error.status < 500 && error.status !== 429;
    button.hidden = isFinal; // after other errors the link still works
    if (isBug(error)) throw error;
    render(button, "Try again");
    button.onclick = () => runExclusive(button, () => attempt(send));
  }
}

/** Read whose link this is, and offer to log in. */
async function readLink() {
  /** @type {[Api.MagicLink, Api.Me | null]} */
  const [link, me] = await Promise.all([
    post("/api/auth/magic-link/read", { token }, { anonymous: true }), currentUser(),
  ]);
  const isOther = me !== null && me.user.email !== link.email;
  render(state,
    el("p", {}, "This link logs you in as ", el("strong", {}, isolate(link.email)), ", once."),
    link.sameBrowser ? null : el("p", { class: "notice bad" },
      "This link was not requested in this browser. Log in only if you requested it yourself, on another device or with ",
      el("code", {}, "devflow login"), ". If somebody sent it to you, this is their account, and they can see what you do in it."),
    isOther ? el("p", { class: "notice" },
      "You are logged in here as ", el("strong", {}, isolate(me.user.email)), ". The new session will replace that one in this browser.") : null);
  render(button, `Log in as ${plainText(link.email)}`);
  button.hidden = false;
  button.onclick = () => runExclusive(button, () => attempt(logIn));
}

async function logIn() {
  await post("/api/auth/magic-link/verify", { token }, { anonymous: true });
  sessionStorage.removeItem("me");
  location.replace(pageUrl());
}

addEventListener("hashchange", () => location.reload()); // another link, opened in this tab

if (/^[A-Za-z0-9_-]{43}$/.test(token)) {
  render(state, el("p", {}, "Checking the link …"));
  await attempt(readLink);
} else {
  render(state, el("p", {}, "This link is incomplete. Open the whole link from the email, or request a new one on the login page."));
}
