/** Times: relative ones to read at a glance, exact ones in the reader's time zone. All use the platform's clock. */

import { now } from "./api.js";
import { el } from "./dom.js";

/**
 * Unit, its length in seconds, and the most of it before the next unit is used.
 * @type {[Intl.RelativeTimeFormatUnit, number, number][]}
 */
const UNITS = [
  ["second", 1, 60],
  ["minute", 60, 60],
  ["hour", 3_600, 24],
  ["day", 86_400, 30],
  ["month", 2_592_000, 12],
  ["year", 31_536_000, Infinity],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/**
 * "3 min. ago". Both times are in epoch milliseconds.
 * @param {number} time
 * @param {number} reference
 */
function relativeTime(time, reference) {
  const seconds = Math.round((time - reference) / 1_000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const [unit, length] = UNITS.find(([, length, most]) => size < length * most) ?? UNITS[0];
  return relative.format(Math.round(seconds / length), unit);
}

/**
 * A time as "3 min. ago". The text updates itself, and its tooltip has the exact time.
 * @param {string | null} [iso]
 */
export function timeAgo(iso) {
  if (!iso) return "–";
  const time = Date.parse(iso);
  return el("time", { datetime: iso, title: zoned.format(time), "data-ago": true }, relativeTime(time, now()));
}

/**
 * A time as "26 Nov 2026, 09:14:46 (3 min. ago)".
 * @param {string | null} [iso]
 * @returns {Child[]}
 */
export function fullTime(iso) {
  if (!iso) return ["–"];
  return [el("span", { class: "exact" }, exact.format(Date.parse(iso))), " (", timeAgo(iso), ")"];
}

/**
 * "1 h 5 min", from seconds.
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3_600)} h`;
}

/**
 * The duration between two times, or from a time until now.
 * @param {string} from
 * @param {string | null} [to]
 */
export const durationBetween = (from, to) => duration(((to ? Date.parse(to) : now()) - Date.parse(from)) / 1_000);

function updateRelativeTimes() {
  for (const time of document.querySelectorAll("time")) {
    if (time.dataset.ago === undefined) continue;
    const text = relativeTime(Date.parse(time.dateTime), now());
    if (time.textContent !== text) time.textContent = text;
  }
}

setInterval(() => document.hidden || updateRelativeTimes(), 5_000);
