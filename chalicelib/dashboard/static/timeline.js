/** What happened to a task, attempt by attempt. */

import { el, said } from "./dom.js";
import { agentLink } from "./parts.js";
import { between, when } from "./time.js";

const NAMES = {
  "task.created": "Submitted",
  "task.queued": "Waits for an agent",
  "task.assigned": "Claimed",
  "task.started": "Started",
  "task.step": "",
  "task.requeued": "Back in the queue",
  "task.cancel_requested": "Told to stop",
  "task.completed": "Completed",
  "task.failed": "Failed",
  "task.cancelled": "Cancelled",
};

/** The events of a task, oldest first, as one list an attempt, each with a heading where there are several. */
export function timeline(events) {
  const attempts = new Map();
  for (const event of events) attempts.set(event.attempt, [...(attempts.get(event.attempt) ?? []), event]);
  return [...attempts].map(([attempt, those]) =>
    el("div", { class: "attempt", "data-key": `attempt-${attempt}` },
      attempts.size > 1 ? el("h3", {}, `Attempt ${attempt}`, el("span", { class: "hint" }, ` ${spent(those)}`)) : null,
      el("ol", { class: "timeline" }, those.map(line))));
}

function spent(events) {
  const claimed = events.filter((event) => event.agentId).at(-1);
  const length = between(events[0].timestamp, events.at(-1).timestamp);
  return claimed ? `${length}` : "";
}

function line(event) {
  const name = NAMES[event.type] ?? event.type;
  return el("li", { class: `event ${event.status} ${event.type.replace("task.", "is-")}` },
    el("div", { class: "line" },
      el("span", {},
        name ? el("strong", {}, name) : null,
        name && event.detail ? " – " : null,
        event.detail ? said(event.detail) : null,
        event.type === "task.assigned" && event.agentId ? [" by ", agentLink(event.agentId)] : null),
      when(event.timestamp)));
}
