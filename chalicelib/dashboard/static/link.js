/**
 * The page that a magic link leads to. It logs in on a click only: mail scanners open every link, so opening it must not
 * use it up. The token is behind the `#`, which browsers send to no server.
 */

import { runExclusive } from "./actions.js";
import { ApiError, isBug, pageUrl, request } from "./api.js";
import { byId, render } from "./dom.js";
import { describeError } from "./messages.js";

const token = location.hash.slice(1);
const button = byId("confirm", HTMLButtonElement);
const notice = byId("state");

button.hidden = token === "";
render(notice, token
  ? "This link logs you in once."
  : "This link is incomplete. Open the whole link from the email, or request a new one on the login page.");

button.onclick = () => runExclusive(button, async () => {
  render(notice, "Logging in …");
  try {
    await request("POST", "/api/auth/magic-link/verify", { body: { token }, anonymous: true });
  } catch (error) {
    render(notice, describeError(error));
    const isFinal = error instanceof ApiError && error.status < 500 && error.status !== 429;
    button.hidden = isFinal; // after other errors the link still works
    if (isBug(error)) throw error;
    return;
  }
  sessionStorage.removeItem("me");
  location.replace(pageUrl());
});
