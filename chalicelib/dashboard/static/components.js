/** Components that several pages use: badges, rows of lists, links. */

import { now, pageUrl } from "./api.js";
import { el, isolate, plainText } from "./dom.js";
import { durationBetween, timeAgo } from "./time.js";

/** @type {Record<string, string>} */
const STATUS_LABELS = {
  pending: "Pending",
  queued: "Queued",
  assigned: "Claimed",
  in_progress: "Running",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};
export const OPEN_STATUSES = ["pending", "queued", "assigned", "in_progress"];
/** @param {Api.Task} task */
export const isOpen = (task) => OPEN_STATUSES.includes(task.status);

const RECENT_MS = 120_000;
/**
 * Whether a task may change soon: it is running, or has waited for a short time only.
 * @param {Api.Task} task
 */
export const isChanging = (task) =>
  isOpen(task) && (task.status !== "queued" || now() - Date.parse(task.updatedAt) < RECENT_MS);
/** @param {string} status */
export const statusLabel = (status) => STATUS_LABELS[status] ?? status;

/**
 * A task's status as a sign and a word.
 * @param {Api.Task} task
 */
export const statusBadge = (task) =>
  el("span", { class: `status ${task.status}` }, task.cancelRequested && isOpen(task) ? "Stopping" : statusLabel(task.status));

/**
 * An agent's state in one word.
 * @param {Api.Agent} agent
 */
export function agentState(agent) {
  if (agent.paused) return "Paused";
  if (agent.status === "error") return "Error";
  if (agent.status === "inactive") return "Offline";
  if (agent.reportedStatus === "draining") return "Draining";
  return agent.holding.length ? "Working" : "Ready";
}

/** @param {Api.Agent} agent */
export const agentBadge = (agent) => {
  const state = agentState(agent);
  return el("span", { class: `status agent-${state.toLowerCase()}` }, state);
};

/**
 * A webhook's state as a sign and a word.
 * @param {Api.Webhook} webhook
 */
export function webhookBadge(webhook) {
  const [kind, name] = !webhook.enabled ? ["cancelled", "Disabled"] : webhook.failingSince ? ["failed", "Failing"] : ["completed", "Enabled"];
  return el("span", { class: `status ${kind}` }, name);
}

/**
 * The events of a webhook in words.
 * @param {Api.Webhook} webhook
 */
export const eventSummary = (webhook) => (webhook.events.includes("*") ? "all events" : webhook.events.join(", "));

/**
 * The progress bar of a running task. The API's `progress` is 0 to 1.
 * @param {Api.Task} task
 */
export const progressBar = (task) =>
  el("progress", { max: 100, value: Math.round(task.progress * 100), "aria-label": `Progress of ${plainText(task.id)}` });

/** @param {Api.Task} task */
export const percent = (task) => `${Math.round(task.progress * 100)} %`;

/**
 * A repository's address without scheme, `www.` and `.git`.
 * @param {string} repo
 */
export const shortRepo = (repo) => String(repo).replace(/^https?:\/\/(www\.)?/, "").replace(/\.git$/, "");

/** @type {(id: string, label?: Child) => HTMLElement} */
export const taskLink = (id, label) => el("a", { href: pageUrl("tasks", id), class: label ? "" : "id" }, label ?? id);
/** @type {(id: string, label?: Child) => HTMLElement} */
export const agentLink = (id, label) => el("a", { href: pageUrl("agents", id), class: label ? "" : "id" }, label ?? id);

/**
 * A task as a row of a list. `names` are the agents' names by id; null leaves the agent out.
 * @param {Api.Task} task
 * @param {Map<string, string> | null} [names]
 */
export function taskRow(task, names = new Map()) {
  const agent = names && task.agentId && agentLink(task.agentId, isolate(names.get(task.agentId) ?? task.agentId));
  const isRunning = task.status === "in_progress";
  return el("li", { class: "item", "data-key": task.id },
    el("div", { class: "line" },
      el("a", { class: "title", href: pageUrl("tasks", task.id) }, isolate(task.description)),
      statusBadge(task)),
    isRunning ? el("div", { class: "line progress" }, progressBar(task), el("span", {}, percent(task))) : null,
    isRunning && task.currentStep ? el("p", { class: "step" }, isolate(task.currentStep)) : null,
    task.status === "failed" && task.error ? el("p", { class: "step bad" }, isolate(task.error)) : null,
    el("p", { class: "facts" },
      el("span", { class: "tag" }, task.intent),
      el("span", {}, isolate(shortRepo(task.repo))),
      agent ? el("span", {}, agent) : null,
      task.attempt > 1 ? el("span", {}, `attempt ${task.attempt}`) : null,
      timing(task)));
}

/** @param {Api.Task} task */
function timing(task) {
  if (task.completedAt) return el("span", {}, timeAgo(task.completedAt));
  if (task.startedAt && task.status === "in_progress") return el("span", {}, `for ${durationBetween(task.startedAt)}`);
  return el("span", {}, "submitted ", timeAgo(task.createdAt));
}

/**
 * An agent as a row of a list. `tasks` are the open tasks by id.
 * @param {Api.Agent} agent
 * @param {Map<string, Api.Task>} [tasks]
 */
export function agentRow(agent, tasks = new Map()) {
  const held = agent.holding.map((id) => {
    const task = tasks.get(id);
    return el("p", { class: "step" }, taskLink(id, isolate(task?.description ?? id)),
      task?.status === "in_progress" ? ` ${percent(task)}` : "");
  });
  return el("li", { class: "item", "data-key": agent.id },
    el("div", { class: "line" }, el("a", { class: "title", href: pageUrl("agents", agent.id) }, isolate(agent.name)), agentBadge(agent)),
    held,
    agent.paused && agent.note ? el("p", { class: "step" }, isolate(agent.note)) : null,
    el("p", { class: "facts" },
      el("span", {}, "last seen ", timeAgo(agent.lastHeartbeat)),
      el("span", {}, isolate(`v${agent.version}`)),
      agent.platform ? el("span", {}, isolate(agent.platform)) : null,
      el("span", { class: "tags" }, agent.capabilities.map((name) => el("span", { class: "tag" }, isolate(name))))));
}

/**
 * A list of names and values. A pair that is falsy is left out.
 * @param {...([string, ...Child[]] | null | undefined | false | 0 | "")} pairs
 */
export const definitionList = (...pairs) =>
  el("dl", { class: "about" }, pairs.map((pair) => pair && el("div", {}, el("dt", {}, pair[0]), el("dd", {}, pair.slice(1)))).filter((pair) => pair instanceof Node));

/**
 * The button that loads the next page of a list; null without one.
 * @param {Api.Page<unknown>} page
 * @param {NonNullable<Props["onclick"]>} onclick
 */
export const moreButton = (page, onclick) =>
  page.hasMore ? el("button", { type: "button", class: "more", onclick }, "Show more") : null;

/**
 * The total of a list, or "1,000+" where the API counts no further.
 * @param {Api.Page<unknown>} page
 */
export const totalLabel = (page) => (page.totalCapped ? "1,000+" : page.total.toLocaleString());
