/** The platform's API, called as the user who is logged in: the browser sends the session's cookie along. */

/** The root of the platform: behind a stage's name or not, this file is at `<root>/dashboard/static/<version>/`. */
export const root = new URL("../../../", import.meta.url);

/** The address of a page: `page("tasks", id)`. */
export const page = (...path) => new URL(["dashboard", ...path.map(encodeURIComponent)].join("/"), root).href;

const TIMEOUT = 30_000;

/** The platform said no. `status`, `title`, `details` as in the contract; `retryAfter` in seconds, if it said so. */
export class Refused extends Error {
  constructor(status, told, retryAfter) {
    super(told.message || told.error || `The platform answered ${status}.`);
    this.status = status;
    this.title = told.error ?? "";
    this.details = told.details ?? [];
    this.retryAfter = retryAfter;
  }
}

/** There was no answer: no network, or the platform does not respond. Whether it was heard is not known. */
export class Unreachable extends Error {
  constructor() {
    super("DevFlow cannot be reached right now.");
  }
}

/** Whether an error is a flaw of these scripts, and not what somebody was told: the console is to have it, too. */
export const isFlaw = (error) => !(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError;

const clock = { ahead: 0 };

/** What time it is for the platform, in epoch milliseconds: a clock that is set wrong here does not matter. */
export const now = () => Date.now() + clock.ahead;

/**
 * One call; what it answers, parsed. Raises Refused or Unreachable. A session that has ended leads to the login, unless
 * `anonymous`.
 */
export async function call(method, path, { body, query, headers = {}, signal, anonymous = false } = {}) {
  const answer = await send(method, path, { body, query, headers, signal });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  if (answer.status === 401 && !anonymous) {
    leave(sessionStorage.getItem("me") ? "expired" : "");
    await new Promise(() => {}); // the page is going away; nothing after this call is to happen
  }
  throw new Refused(answer.status, told, Number(answer.headers.get("Retry-After")) || 0);
}

/** The same, but the answer as it came, whatever its status. Raises Unreachable. */
export async function send(method, path, { body, query = {}, headers = {}, signal } = {}) {
  const url = new URL(path.replace(/^\//, ""), root);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  const content = body === undefined ? {} : { "Content-Type": "application/json" };
  const limit = AbortSignal.timeout(TIMEOUT);
  try {
    const answer = await fetch(url, {
      method,
      headers: { ...content, ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "manual",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    const date = Date.parse(answer.headers.get("Date") ?? "");
    if (!Number.isNaN(date) && Math.abs(date - Date.now()) > 5_000) clock.ahead = date - Date.now();
    else if (!Number.isNaN(date)) clock.ahead = 0;
    return answer;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body, options) => call("POST", path, { body: body ?? {}, ...options });
export const patch = (path, body) => call("PATCH", path, { body });
export const remove = (path) => call("DELETE", path);

/** To the login, and after it back here. */
export function leave(reason) {
  sessionStorage.removeItem("me");
  const login = new URL(page("login"));
  if (reason) login.searchParams.set("reason", reason);
  login.searchParams.set("next", location.href.slice(root.href.length));
  location.replace(login);
}
