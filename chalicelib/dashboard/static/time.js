/** Times: relative where one glances, local and exact where one looks. All of them from the platform's clock. */

import { now } from "./api.js";
import { el } from "./dom.js";

const STEPS = [
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

/** How long ago, in words; `at` and `today` in epoch milliseconds. */
function ago(at, today) {
  const seconds = Math.round((at - today) / 1_000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const [unit, length] = STEPS.find(([, length, most]) => size < length * most);
  return relative.format(Math.round(seconds / length), unit);
}

/** A time as "3 min. ago", which keeps itself up to date; hovering shows it in full. */
export function when(iso) {
  if (!iso) return "–";
  const at = Date.parse(iso);
  return el("time", { datetime: iso, title: zoned.format(at), "data-ago": true }, ago(at, now()));
}

/** A time as "26 Nov 2026, 09:14:46 (3 min. ago)". */
export function precisely(iso) {
  if (!iso) return "–";
  return [el("span", { class: "exact" }, exact.format(Date.parse(iso))), " (", when(iso), ")"];
}

/** "1 h 5 min", from seconds. */
export function lasting(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3_600)} h`;
}

/** Between two times, or since one. */
export const between = (from, to) => lasting(((to ? Date.parse(to) : now()) - Date.parse(from)) / 1_000);

function refresh() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Date.parse(time.dateTime), now());
    if (time.textContent !== text) time.textContent = text;
  }
}

setInterval(() => document.hidden || refresh(), 5_000);
