/** Pieces that several pages show. */

import { now, page } from "./api.js";
import { el, plain, said } from "./dom.js";
import { between, when } from "./time.js";

const STATUSES = {
  pending: "Pending",
  queued: "Queued",
  assigned: "Claimed",
  in_progress: "Running",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};
export const OPEN = ["pending", "queued", "assigned", "in_progress"];
export const isOpen = (task) => OPEN.includes(task.status);

const FRESH = 120_000;
/** Whether something may happen to a task any moment: it runs, or has not waited for long. */
export const moves = (task) =>
  isOpen(task) && (task.status !== "queued" || now() - Date.parse(task.updatedAt) < FRESH);
export const statusName = (status) => STATUSES[status] ?? status;

/** A task's status: a sign and a word. */
export const status = (task) =>
  el("span", { class: `status ${task.status}` }, task.cancelRequested && isOpen(task) ? "Stopping" : statusName(task.status));

/** An agent's state, as it matters to somebody who waits: one word. */
export function agentState(agent) {
  if (agent.paused) return "Paused";
  if (agent.status === "error") return "Error";
  if (agent.status === "inactive") return "Offline";
  if (agent.reportedStatus === "draining") return "Draining";
  return agent.holding.length ? "Working" : "Ready";
}

export const agentBadge = (agent) => {
  const state = agentState(agent);
  return el("span", { class: `status agent-${state.toLowerCase()}` }, state);
};

/** How a webhook does: a sign and a word. */
export function webhookBadge(webhook) {
  const [kind, name] = !webhook.enabled ? ["cancelled", "Disabled"] : webhook.failingSince ? ["failed", "Failing"] : ["completed", "Enabled"];
  return el("span", { class: `status ${kind}` }, name);
}

/** What a webhook is told of. */
export const told = (webhook) => (webhook.events.includes("*") ? "everything" : webhook.events.join(", "));

/** A bar for a task that runs; `progress` is 0 to 1. */
export const bar = (task) =>
  el("progress", { max: 100, value: Math.round(task.progress * 100), "aria-label": `Progress of ${plain(task.id)}` });

export const percent = (task) => `${Math.round(task.progress * 100)} %`;

/** A repository without what is the same for all. */
export const repository = (repo) => String(repo).replace(/^https?:\/\/(www\.)?/, "").replace(/\.git$/, "");

export const taskLink = (id, label) => el("a", { href: page("tasks", id), class: label ? "" : "id" }, label ?? id);
export const agentLink = (id, label) => el("a", { href: page("agents", id), class: label ? "" : "id" }, label ?? id);

/** A task as one row of a list; `names`: agents' names by id, null to leave the agent out. */
export function taskRow(task, names = new Map()) {
  const agent = names && task.agentId && agentLink(task.agentId, said(names.get(task.agentId) ?? task.agentId));
  const running = task.status === "in_progress";
  return el("li", { class: "item", "data-key": task.id },
    el("div", { class: "line" },
      el("a", { class: "title", href: page("tasks", task.id) }, said(task.description)),
      status(task)),
    running ? el("div", { class: "line progress" }, bar(task), el("span", {}, percent(task))) : null,
    running && task.currentStep ? el("p", { class: "step" }, said(task.currentStep)) : null,
    task.status === "failed" && task.error ? el("p", { class: "step bad" }, said(task.error)) : null,
    el("p", { class: "facts" },
      el("span", { class: "tag" }, task.intent),
      el("span", {}, said(repository(task.repo))),
      agent ? el("span", {}, agent) : null,
      task.attempt > 1 ? el("span", {}, `attempt ${task.attempt}`) : null,
      timing(task)));
}

function timing(task) {
  if (task.completedAt) return el("span", {}, when(task.completedAt));
  if (task.startedAt && task.status === "in_progress") return el("span", {}, `for ${between(task.startedAt)}`);
  return el("span", {}, "submitted ", when(task.createdAt));
}

/** An agent as one row of a list; `tasks`: the tasks that are open, by id. */
export function agentRow(agent, tasks = new Map()) {
  const doing = agent.holding.map((id) => {
    const task = tasks.get(id);
    return el("p", { class: "step" }, taskLink(id, said(task?.description ?? id)),
      task?.status === "in_progress" ? ` ${percent(task)}` : "");
  });
  return el("li", { class: "item", "data-key": agent.id },
    el("div", { class: "line" }, el("a", { class: "title", href: page("agents", agent.id) }, said(agent.name)), agentBadge(agent)),
    doing,
    agent.paused && agent.note ? el("p", { class: "step" }, said(agent.note)) : null,
    el("p", { class: "facts" },
      el("span", {}, "seen ", when(agent.lastHeartbeat)),
      el("span", {}, said(`v${agent.version}`)),
      agent.platform ? el("span", {}, said(agent.platform)) : null,
      el("span", { class: "tags" }, agent.capabilities.map((one) => el("span", { class: "tag" }, said(one))))));
}

/** Pairs of a name and what it is. */
export const facts = (...pairs) =>
  el("dl", { class: "about" }, pairs.filter(Boolean).map(([name, ...what]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...what))));

/** More of a list, when asked for. */
export const moreButton = (listing, onclick) =>
  listing.hasMore ? el("button", { type: "button", class: "more", onclick }, "Show more") : null;

/** "1,000+" where a total is not counted further. */
export const total = (listing) => (listing.totalCapped ? "1,000+" : listing.total.toLocaleString());
