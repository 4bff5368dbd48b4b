/** The client of the platform's API. The browser sends the session cookie with every request. */

/** The root URL of the platform. This file is served at `<root>/dashboard/static/<version>/`, with or without a stage in `<root>`. */
export const root = new URL("../../../", import.meta.url);

/**
 * The URL of a page: `pageUrl("tasks", id)`.
 * @param {...string} path
 */
export const pageUrl = (...path) => new URL(["dashboard", ...path.map(encodeURIComponent)].join("/"), root).href;

const TIMEOUT_MS = 30_000;

/** The API returned an error: `title` and `details` are its fields `error` and `details`. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {Partial<Api.ErrorBody>} body
   * @param {number} retryAfter Seconds from the header Retry-After; 0 without one.
   */
  constructor(status, body, retryAfter) {
    super(body.message || body.error || `The platform returned status ${status}.`);
    this.status = status;
    this.title = body.error ?? "";
    this.details = body.details ?? [];
    this.retryAfter = retryAfter;
  }
}

/** No response arrived. The request may or may not have had an effect. */
export class NetworkError extends Error {
  constructor() {
    super("DevFlow is unreachable. Check your network connection.");
  }
}

/**
 * Whether an error is a bug of these scripts. Bugs also go to the console; errors that the user has read do not.
 * @param {unknown} error
 */
export const isBug = (error) => !(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError;

let clockOffset = 0;

/** The platform's time in epoch milliseconds, also where this computer's clock is wrong. */
export const now = () => Date.now() + clockOffset;

/**
 * Send a request and return the parsed body of its response. Throws ApiError or NetworkError. A 401 redirects to the login
 * page and never resolves, unless `anonymous`.
 * @param {string} method
 * @param {string} path
 * @param {RequestOptions} [options]
 * @returns {Promise<any>}
 */
export async function request(method, path, { anonymous = false, ...options } = {}) {
  const response = await send(method, path, options);
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  if (response.status === 401 && !anonymous) {
    redirectToLogin(sessionStorage.getItem("me") ? "expired" : "");
    await new Promise(() => {}); // the browser leaves this page, so nothing after this call may run
  }
  throw new ApiError(response.status, body, Number(response.headers.get("Retry-After")) || 0);
}

/**
 * Send a request and return its response, whatever its status. Throws NetworkError.
 * @param {string} method
 * @param {string} path
 * @param {Omit<RequestOptions, "anonymous">} [options]
 */
export async function send(method, path, { body, query = {}, headers = {} } = {}) {
  const url = new URL(path.replace(/^\//, ""), root);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  try {
    const response = await fetch(url, {
      method,
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "manual",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (!Number.isNaN(date)) clockOffset = Math.abs(date - Date.now()) > 5_000 ? date - Date.now() : 0;
    return response;
  } catch {
    throw new NetworkError();
  }
}

/** @type {(path: string, query?: Query, options?: RequestOptions) => Promise<any>} */
export const get = (path, query, options) => request("GET", path, { query, ...options });
/** @type {(path: string, body?: object, options?: RequestOptions) => Promise<any>} */
export const post = (path, body, options) => request("POST", path, { body: body ?? {}, ...options });
/** @type {(path: string, body: object) => Promise<any>} */
export const patch = (path, body) => request("PATCH", path, { body });
/** @type {(path: string) => Promise<any>} */
export const remove = (path) => request("DELETE", path);

/**
 * Open the login page, which leads back here after the login. `reason` is one of the login page's reasons, or "".
 * @param {string} reason
 */
export function redirectToLogin(reason) {
  sessionStorage.removeItem("me");
  const login = new URL(pageUrl("login"));
  if (reason) login.searchParams.set("reason", reason);
  login.searchParams.set("next", location.href.slice(root.href.length));
  location.replace(login);
}
