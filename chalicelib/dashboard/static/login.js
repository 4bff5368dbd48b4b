/** Logging in. Whatever the way, it ends in the session's cookie, and where one wanted to go. */

import { Refused, call, page, root } from "./api.js";
import { at, show } from "./dom.js";
import { sending } from "./forms.js";

const asked = new URLSearchParams(location.search);

const REASONS = {
  expired: "Your session has ended. Log in again to go on.",
  out: "You are logged out.",
  "slack-denied": "You did not allow it at Slack. Nobody was logged in.",
  "slack-expired": "That login took too long, or was begun in another window. Try again.",
  "slack-email": "Slack knows no verified address of yours, or it may not log in here.",
  "slack-team": "Log in with the workspace of your team: another one may not log in here.",
  "slack-refused": "What Slack answered is not to be believed. Try again.",
  "slack-unavailable": "Slack did not answer. Try again in a moment.",
  "slack-busy": "Too many logins in this minute. Try again in the next one.",
  "slack-off": "This platform does not know Slack. Log in another way.",
  sent: "If this address may log in, a link is on its way. It works for ten minutes.",
};

/** Where to go after the login: a page of this platform, whatever the address says. */
function next() {
  const dashboard = page();
  try {
    const wanted = new URL(asked.get("next") ?? "", root).href;
    const allowed = [dashboard, new URL("docs", root).href];
    if (allowed.some((start) => wanted === start || wanted.startsWith(`${start}/`) || wanted.startsWith(`${start}?`))) {
      return wanted;
    }
  } catch {
    // no address
  }
  return dashboard;
}

function tellReason(text, kind) {
  const notice = at("reason");
  show(notice, text);
  notice.className = `notice ${kind}`;
  notice.hidden = false;
}

const reason = asked.get("reason");
if (reason) {
  const known = Object.hasOwn(REASONS, reason);
  tellReason(known ? REASONS[reason] : "That login did not work. Please try again.", known && !reason.startsWith("slack-") ? "" : "bad");
}

const form = at("login");
const ways = document.documentElement.dataset.logins.split(" ");
for (const part of form.querySelectorAll("[data-way]")) if (!ways.includes(part.dataset.way)) part.remove();

const WAYS = {
  async pin({ email, pin }) {
    await call("POST", "/api/auth/pin/login", { body: { email, pin }, anonymous: true }).catch((error) => {
      throw error instanceof Refused && error.status === 401 ? new Error("Email and PIN do not belong together.") : error;
    });
    sessionStorage.removeItem("me");
    location.replace(next());
  },
  async mail({ email }) {
    await call("POST", "/api/auth/magic-link", { body: { email }, anonymous: true });
    tellReason(REASONS.sent, "good");
  },
};

sending(form, async (_, way) => {
  if (form.elements.email.reportValidity()) await WAYS[way](Object.fromEntries(new FormData(form)));
});
