/** Keeping a page up to date without a reload, for as little money as that takes. */

import { Refused, isFlaw } from "./api.js";
import { at, show } from "./dom.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** Milliseconds between two looks; docs/dashboard.md has what an open page asks for. */
const PAUSES = {
  busy: 3 * SECOND, // something runs, and somebody is watching
  calm: 15 * SECOND, // nothing runs
  idle: 30 * SECOND, // nobody has touched the page for ten minutes
  hidden: 60 * SECOND, // another tab is in front
  worst: 60 * SECOND, // after many failures in a row
};
/** So long after somebody did something here, its effects are watched for like work that runs. */
const STIRRED_FOR = 30 * SECOND;
const IDLE_AFTER = 10 * MINUTE;
const ASLEEP_AFTER = 60 * MINUTE;

/** What a look tells where nothing can change any more. */
export const OVER = "over";

/**
 * How long to wait before the next look, in milliseconds; Infinity: until the page is shown again. `busy`: something
 * runs. `hiddenFor`, `untouchedFor`: milliseconds, 0 for not at all. `failures`: so many in a row.
 */
export function pause({ busy, hiddenFor, untouchedFor, failures }) {
  if (hiddenFor >= ASLEEP_AFTER) return Infinity;
  let wait = busy ? PAUSES.busy : PAUSES.calm;
  if (failures) wait = Math.min(PAUSES.worst, PAUSES.busy * 2 ** failures);
  if (untouchedFor >= IDLE_AFTER) wait = Math.max(wait, PAUSES.idle);
  if (hiddenFor) wait = Math.max(wait, PAUSES.hidden);
  return wait;
}

const page = { touchedAt: Date.now(), hiddenAt: document.hidden ? Date.now() : null };

/**
 * Call `look` now and again and again; it tells whether something runs, or OVER. What it raises is shown, and tried again.
 * Returns a function that looks at once, for when something has just been changed.
 */
export function keepLooking(look) {
  let timer = null;
  let failures = 0;
  let looking = null;
  let stirredAt = 0;
  let looks = 0;

  const schedule = (busy, atLeast = 0) => {
    const wait = pause({
      busy,
      hiddenFor: page.hiddenAt === null ? 0 : Date.now() - page.hiddenAt + 1,
      untouchedFor: Date.now() - page.touchedAt,
      failures,
    });
    if (wait !== Infinity) timer = setTimeout(again, Math.max(wait, atLeast));
    return wait;
  };

  const once = async () => {
    clearTimeout(timer);
    try {
      const busy = await look();
      failures = 0;
      if (busy !== OVER) schedule(busy || Date.now() - stirredAt < STIRRED_FOR);
      tell("", busy === OVER ? "It has ended: nothing changes any more" : "Up to date; refreshes by itself");
      at("live").dataset.looks = looks += 1;
    } catch (error) {
      failures += 1;
      const wait = schedule(false, (error instanceof Refused ? error.retryAfter : 0) * SECOND);
      tell("bad", `${error.message} Trying again in ${Math.round(wait / SECOND)} s.`);
      if (isFlaw(error)) throw error;
    }
  };

  /** One look at a time; who asks during one gets another after it. */
  const again = () => {
    looking = (looking ?? Promise.resolve()).then(once, once);
    return looking;
  };

  document.addEventListener("visibilitychange", () => {
    page.hiddenAt = document.hidden ? Date.now() : null;
    if (!document.hidden) again();
  });
  addEventListener("online", again);
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, () => {
      const slept = Date.now() - page.touchedAt >= IDLE_AFTER;
      page.touchedAt = Date.now();
      if (slept) again();
    }, { passive: true, capture: true });
  }
  again();
  return () => {
    stirredAt = Date.now();
    return again();
  };
}

function tell(kind, text) {
  const live = at("live");
  live.className = `live ${kind}`;
  live.setAttribute("aria-live", kind ? "polite" : "off"); // read out: what is wrong, not that all is well
  show(live, text);
}
