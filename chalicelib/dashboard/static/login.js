/** The login page: every method ends with a session cookie, and at the page that the user wanted. */

import { ApiError, pageUrl, request, root } from "./api.js";
import { byId, render } from "./dom.js";
import { field, formValues, handleSubmit } from "./forms.js";

const search = new URLSearchParams(location.search);

/**
 * Why the user is here: `expired` and `out` come from the dashboard, the others from a Slack sign-in that failed.
 * @type {Record<string, string>}
 */
const REASONS = {
  expired: "Your session has ended. Log in again to continue.",
  out: "You are logged out.",
  "slack-denied": "Slack sign-in was declined, so you are not logged in. Try again and allow access.",
  "slack-expired": "This Slack sign-in took more than ten minutes, was already used, or started in another browser. Try again.",
  "slack-email": "Your Slack account has no verified email address, or this stage does not allow its domain. Verify the address at Slack, or ask the operator of this stage.",
  "slack-team": "Members of this Slack workspace cannot log in here. Try again with your team's workspace.",
  "slack-account": "The email address of your Slack account belongs to a user here who is not linked to it. Log in with another method, or ask the operator of this stage.",
  "slack-refused": "Slack sign-in could not be verified. Try again.",
  "slack-unavailable": "Slack sign-in is temporarily unavailable. Try again in a moment.",
  "slack-busy": "There were too many logins from your network. Try again in a minute.",
  "slack-off": "Slack sign-in is not configured on this stage. Use another login method.",
};
const LINK_REQUESTED = "If this address is allowed to log in, you will receive an email with a link. The link works once, for ten minutes.";

/** The page to open after the login: the one that `next` names if it is a page of this platform, else the overview. */
function pageAfterLogin() {
  const dashboard = pageUrl();
  const next = search.get("next") ?? "";
  if (!URL.canParse(next, root.href)) return dashboard;
  const wanted = new URL(next, root).href;
  const isOwn = [dashboard, new URL("docs", root).href].some((start) =>
    wanted === start || wanted.startsWith(`${start}/`) || wanted.startsWith(`${start}?`));
  return isOwn ? wanted : dashboard;
}

/** @type {(text: string, kind: "" | "good" | "bad") => void} */
function renderNotice(text, kind) {
  const notice = byId("reason");
  render(notice, text);
  notice.className = `notice ${kind}`;
  notice.hidden = false;
}

const reason = search.get("reason");
if (reason) {
  const isKnown = Object.hasOwn(REASONS, reason);
  renderNotice(isKnown ? REASONS[reason] : "Login failed. Try again.", isKnown && !reason.startsWith("slack-") ? "" : "bad");
}

const form = byId("login", HTMLFormElement);
const offered = document.documentElement.dataset.logins?.split(" ") ?? [];
for (const part of form.querySelectorAll("[data-method]")) {
  const methods = part.getAttribute("data-method")?.split(" ") ?? [];
  if (methods.length === 1 && !offered.includes(methods[0])) part.remove();
}

/** @type {Record<string, (fields: Record<string, string>) => Promise<void>>} */
const METHODS = {
  async pin({ email, pin }) {
    await request("POST", "/api/auth/pin/login", { body: { email, pin }, anonymous: true }).catch((error) => {
      const isRejected = error instanceof ApiError && error.status === 401;
      throw isRejected ? new Error("The email address or the PIN is incorrect. Check both and try again.") : error;
    });
    sessionStorage.removeItem("me");
    location.replace(pageAfterLogin());
  },
  async mail({ email }) {
    await request("POST", "/api/auth/magic-link", { body: { email }, anonymous: true });
    renderNotice(LINK_REQUESTED, "good");
  },
};

handleSubmit(form, async (_, method) => {
  if (field(form, "email").reportValidity()) await METHODS[method](formValues(form));
});
