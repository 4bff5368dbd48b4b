/** The timeline of a task: its events, attempt by attempt. */

import { agentLink } from "./components.js";
import { el, isolate } from "./dom.js";
import { durationBetween, timeAgo } from "./time.js";

/** @type {Record<string, string>} */
const NAMES = {
  "task.created": "Submitted",
  "task.queued": "Queued",
  "task.assigned": "Claimed",
  "task.started": "Started",
  "task.step": "",
  "task.requeued": "Returned to the queue",
  "task.cancel_requested": "Cancellation requested",
  "task.completed": "Completed",
  "task.failed": "Failed",
  "task.cancelled": "Cancelled",
};

/**
 * The events of a task, oldest first, as one list per attempt. Each has a heading if there are several.
 * @param {Api.TaskEvent[]} events
 */
export function timeline(events) {
  /** @type {Map<number, Api.TaskEvent[]>} */
  const attempts = new Map();
  for (const event of events) attempts.set(event.attempt, [...(attempts.get(event.attempt) ?? []), event]);
  return [...attempts].map(([attempt, its]) =>
    el("div", { class: "attempt", "data-key": `attempt-${attempt}` },
      attempts.size > 1 ? el("h3", {}, `Attempt ${attempt}`, el("span", { class: "hint" }, ` ${timeSpent(its)}`)) : null,
      el("ol", { class: "timeline" }, its.map(eventRow))));
}

/**
 * How long an attempt took; "" if no agent claimed it.
 * @param {Api.TaskEvent[]} events
 */
function timeSpent(events) {
  const isClaimed = events.some((event) => event.agentId);
  return isClaimed ? durationBetween(events[0].timestamp, events[events.length - 1].timestamp) : "";
}

/** @param {Api.TaskEvent} event */
function eventRow(event) {
  const name = NAMES[event.type] ?? event.type;
  return el("li", { class: `event ${event.status} ${event.type.replace("task.", "is-")}` },
    el("div", { class: "line" },
      el("span", {},
        name ? el("strong", {}, name) : null,
        name && event.detail ? " – " : null,
        event.detail ? isolate(event.detail) : null,
        event.type === "task.assigned" && event.agentId ? [" by ", agentLink(event.agentId)] : null),
      timeAgo(event.timestamp)));
}
