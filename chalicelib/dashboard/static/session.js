/** The session of this browser: the user who is logged in, and logging out. */

import { ApiError, get, pageUrl, redirectToLogin, request } from "./api.js";
import { renderUser } from "./header.js";

/**
 * The user who is logged in (GET /api/auth/me), read from the API once per tab. Without a session this redirects to the
 * login page, unless `anonymous`: then it returns null. The page's HTML says whether the browser sent a session cookie;
 * without one no request is made.
 * @param {{ anonymous?: boolean }} [options]
 * @returns {Promise<Api.Me | null>}
 */
export async function loadUser({ anonymous = false } = {}) {
  /** @type {Api.Me | null} */
  let me = JSON.parse(sessionStorage.getItem("me") ?? "null");
  if (document.documentElement.dataset.session === "none") {
    if (!anonymous) {
      redirectToLogin(me ? "expired" : "");
      await new Promise(() => {}); // the browser leaves this page
    }
    me = null;
  } else if (!me) {
    me = await get("/api/auth/me", {}, { anonymous }).catch((error) => {
      if (error instanceof ApiError && error.status === 401) return null;
      throw error;
    });
    if (me) sessionStorage.setItem("me", JSON.stringify(me));
  }
  renderUser(me);
  return me;
}

/**
 * The user who is logged in. Redirects to the login page, and never resolves, without a session.
 * @returns {Promise<Api.Me>}
 */
export const requireUser = async () => /** @type {Api.Me} */ (await loadUser());

/**
 * End this session, or with `everywhere` every session and personal token of the user.
 * @param {{ everywhere: boolean }} options
 */
export async function logOut({ everywhere }) {
  await request("POST", "/api/auth/logout", { body: { everywhere }, anonymous: true });
  sessionStorage.clear();
  const login = new URL(pageUrl("login"));
  login.searchParams.set("reason", "out");
  location.replace(login);
}
