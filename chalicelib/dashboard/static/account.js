/** The account page: the user, sessions, personal tokens, the PIN, logging out. */

import { withBusy } from "./actions.js";
import { post, remove } from "./api.js";
import { definitionList } from "./components.js";
import { openDialog, openSecretDialog } from "./dialogs.js";
import { byId, el, isolate, plainText, render } from "./dom.js";
import { howToLogIn } from "./empty-states.js";
import { field, handleSubmit } from "./forms.js";
import { pollList } from "./list.js";
import { toast } from "./messages.js";
import { logOut, requireUser } from "./session.js";
import { fullTime, timeAgo } from "./time.js";

const me = await requireUser();
render(byId("about"), definitionList(
  ["Name", isolate(me.user.name)],
  ["Email", isolate(me.user.email)],
  ["Id", el("code", {}, me.user.id)],
  ["Logged in until", ...fullTime(me.expiresAt)]));

const logOutButton = byId("logout", HTMLButtonElement);
logOutButton.onclick = () => withBusy(logOutButton, () => logOut({ everywhere: false }));
const logOutEverywhereButton = byId("logout-all", HTMLButtonElement);
logOutEverywhereButton.onclick = async () => {
  const isConfirmed = await openDialog({
    title: "Log out everywhere?",
    text: "This ends all of your sessions and revokes all of your personal tokens at once. Agents continue, because they have their own tokens.",
    confirm: "Log out everywhere",
  });
  if (isConfirmed) await withBusy(logOutEverywhereButton, () => logOut({ everywhere: true }));
};

/** @param {Api.Session} session */
const nameOf = (session) => plainText(session.userAgent ?? "an unknown program");

/** @param {Api.Session} session */
const sessionRow = (session) =>
  el("li", { class: "item", "data-key": session.id },
    el("div", { class: "line" }, el("strong", { class: "title" }, isolate(session.userAgent ?? "Unknown program")),
      session.current ? el("span", {}, "this session")
        : el("button", { type: "button", class: "small danger", "aria-label": `End the session of ${nameOf(session)}`, onclick: (event) => endSession(event.currentTarget, session) }, "End")),
    el("p", { class: "facts" },
      el("span", {}, "from ", session.address ?? "an unknown address"),
      el("span", {}, "logged in ", timeAgo(session.createdAt)),
      el("span", {}, "last used ", timeAgo(session.lastSeenAt)),
      el("span", {}, "expires ", timeAgo(session.expiresAt))));

/** @type {(button: HTMLElement, session: Api.Session) => Promise<void>} */
async function endSession(button, session) {
  const isConfirmed = await openDialog({
    title: "End this session?",
    text: `${nameOf(session)} must log in again.`,
    confirm: "End the session",
    cancel: "Keep it",
  });
  if (!isConfirmed) return;
  await withBusy(button, async () => {
    await remove(`/api/auth/sessions/${encodeURIComponent(session.id)}`);
    toast("Session ended.");
  });
  await reloadSessions();
}

const reloadSessions = pollList("/api/auth/sessions", {
  more: byId("more-sessions"),
  /** @param {Api.Session[]} rows */
  renderRows(rows) {
    render(byId("sessions"), rows.map(sessionRow));
    return false;
  },
});

/** @param {Api.PersonalToken} token */
const tokenRow = (token) =>
  el("li", { class: "item", "data-key": token.id },
    el("div", { class: "line" }, el("strong", { class: "title" }, isolate(token.name)),
      el("button", { type: "button", class: "small danger", "aria-label": `Revoke ${plainText(token.name)}`, onclick: (event) => revokeToken(event.currentTarget, token) }, "Revoke")),
    el("p", { class: "facts" },
      el("span", {}, "created ", timeAgo(token.createdAt)),
      el("span", {}, "expires ", timeAgo(token.expiresAt)),
      el("span", {}, token.lastUsedAt ? ["last used ", timeAgo(token.lastUsedAt)] : "never used")));

/** @type {(button: HTMLElement, token: Api.PersonalToken) => Promise<void>} */
async function revokeToken(button, token) {
  const isConfirmed = await openDialog({
    title: `Revoke “${plainText(token.name)}”?`,
    text: "Programs that use this token stop working at once.",
    confirm: "Revoke the token",
    cancel: "Keep it",
  });
  if (!isConfirmed) return;
  await withBusy(button, async () => {
    await remove(`/api/auth/tokens/${encodeURIComponent(token.id)}`);
    toast("Token revoked.");
  });
  await reload();
}

const reload = pollList("/api/auth/tokens", {
  more: byId("more"),
  /** @param {Api.PersonalToken[]} rows */
  renderRows(rows) {
    render(byId("tokens"), rows.length ? rows.map(tokenRow)
      : el("li", { class: "empty" },
        el("p", {}, el("strong", {}, "There are no personal tokens yet."), " Create one below, and pass it to a program as DEVFLOW_TOKEN."),
        howToLogIn()));
    return false;
  },
});

const tokenForm = byId("make", HTMLFormElement);
handleSubmit(tokenForm, async (headers) => {
  const body = { name: field(tokenForm, "name").value.trim(), expiresInDays: Number(field(tokenForm, "days").value) };
  /** @type {Api.NewPersonalToken} */
  const { token } = await post("/api/auth/tokens", body, { headers });
  tokenForm.reset();
  await openSecretDialog({
    title: "Your new token",
    text: "Copy the token now: it is displayed only once. Keep it like a password. It can do everything that you can, except log in and manage tokens.",
    secret: token,
    label: "The new token",
  });
  await reload();
});

const pinForm = byId("pin", HTMLFormElement);
field(pinForm, "email").value = me.user.email; // for password managers
handleSubmit(pinForm, async () => {
  const pin = field(pinForm, "pin");
  await post("/api/auth/pin", { pin: pin.value });
  pin.value = "";
  toast("PIN changed.");
});
