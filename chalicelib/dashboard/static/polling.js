/** Keeps a page up to date by polling the API: often while something changes, seldom while nobody looks. */

import { ApiError, isBug } from "./api.js";
import { byId, render } from "./dom.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** Milliseconds between two refreshes. docs/dashboard.md lists the requests that an open page makes. */
const INTERVALS = {
  busy: 3 * SECOND, // something is running
  calm: 15 * SECOND, // nothing is running
  idle: 30 * SECOND, // nobody has touched the page for ten minutes
  hidden: 60 * SECOND, // another tab is in front
  backoff: 60 * SECOND, // the longest after failures
};
/** After an action of the user the page refreshes as often as while something runs, for this long. */
const AFTER_ACTION = 30 * SECOND;
const IDLE_AFTER = 10 * MINUTE;
const ASLEEP_AFTER = 60 * MINUTE;

/** What a refresh returns when nothing can change any more. */
export const DONE = "done";

/**
 * Milliseconds until the next refresh; Infinity until the page is visible again. `busy`: something is running.
 * `hiddenFor`, `idleFor`: milliseconds, 0 for not at all. `failures`: failed refreshes in a row.
 * @param {{ busy: boolean, hiddenFor: number, idleFor: number, failures: number }} state
 */
export function refreshInterval({ busy, hiddenFor, idleFor, failures }) {
  if (hiddenFor >= ASLEEP_AFTER) return Infinity;
  let wait = busy ? INTERVALS.busy : INTERVALS.calm;
  if (failures) wait = Math.min(INTERVALS.backoff, INTERVALS.busy * 2 ** failures);
  if (idleFor >= IDLE_AFTER) wait = Math.max(wait, INTERVALS.idle);
  if (hiddenFor) wait = Math.max(wait, INTERVALS.hidden);
  return wait;
}

/** @type {{ touchedAt: number, hiddenAt: number | null }} */
const page = { touchedAt: Date.now(), hiddenAt: document.hidden ? Date.now() : null };

/**
 * Call `refresh` now and then repeatedly. It returns whether something is running, or DONE. An error is displayed at the
 * foot of the page, and the refresh is retried. Returns a function that refreshes at once, for use after a change.
 * @param {() => Promise<boolean | typeof DONE>} refresh
 * @returns {() => Promise<void>}
 */
export function startPolling(refresh) {
  let timer = 0;
  let failures = 0;
  let lastActionAt = 0;
  let refreshes = 0;
  let running = Promise.resolve();

  /** @type {(busy: boolean, atLeast?: number) => number} */
  const schedule = (busy, atLeast = 0) => {
    const wait = refreshInterval({
      busy,
      hiddenFor: page.hiddenAt === null ? 0 : Date.now() - page.hiddenAt + 1,
      idleFor: Date.now() - page.touchedAt,
      failures,
    });
    if (wait !== Infinity) timer = setTimeout(refreshNow, Math.max(wait, atLeast));
    return wait;
  };

  const refreshOnce = async () => {
    clearTimeout(timer);
    try {
      const result = await refresh();
      failures = 0;
      if (result !== DONE) schedule(result || Date.now() - lastActionAt < AFTER_ACTION);
      renderState("", result === DONE ? "Final. This page no longer refreshes." : "Up to date. Refreshes automatically.");
      byId("live").dataset.refreshes = String((refreshes += 1));
    } catch (error) {
      failures += 1;
      const wait = schedule(false, (error instanceof ApiError ? error.retryAfter : 0) * SECOND);
      const message = error instanceof Error ? error.message : String(error);
      renderState("bad", `${message} Retrying in ${Math.round(wait / SECOND)} s.`);
      if (isBug(error)) throw error;
    }
  };

  /** One refresh at a time: a call during one starts another after it. */
  const refreshNow = () => {
    running = running.then(refreshOnce, refreshOnce);
    return running;
  };

  document.addEventListener("visibilitychange", () => {
    page.hiddenAt = document.hidden ? Date.now() : null;
    if (!document.hidden) refreshNow();
  });
  addEventListener("online", refreshNow);
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, () => {
      const wasIdle = Date.now() - page.touchedAt >= IDLE_AFTER;
      page.touchedAt = Date.now();
      if (wasIdle) refreshNow();
    }, { passive: true, capture: true });
  }
  refreshNow();
  return () => {
    lastActionAt = Date.now();
    return refreshNow();
  };
}

/** @type {(kind: "" | "bad", text: string) => void} */
function renderState(kind, text) {
  const live = byId("live");
  live.className = `live ${kind}`;
  live.setAttribute("aria-live", kind ? "polite" : "off"); // screen readers read out failures only
  render(live, text);
}
