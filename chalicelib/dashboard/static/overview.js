/** The overview: running, waiting and finished tasks, and the agents. */

import { get, pageUrl } from "./api.js";
import { OPEN_STATUSES, agentRow, isChanging, isOpen, taskRow } from "./components.js";
import { byId, el, render } from "./dom.js";
import { noAgents, noTasks } from "./empty-states.js";
import { startPolling } from "./polling.js";
import { requireUser } from "./session.js";
import { duration } from "./time.js";

const MAX_OPEN = 30;
const MAX_FINISHED = 8;
const MAX_AGENTS = 12;
/** Figures and agents change less than tasks, and figures cost more to read, so they are read less often. */
const STATS_INTERVAL_MS = 15_000;

/** @typedef {{ stats: Api.Stats, agents: Api.Page<Api.Agent>, readAt: number }} Summary */

/** @type {Summary | null} */
let summary = null;

async function refresh() {
  /** @type {Api.Page<Api.Task>} */
  const recent = await get("/api/tasks", { limit: MAX_OPEN });
  if (!summary || Date.now() - summary.readAt >= STATS_INTERVAL_MS) {
    const [stats, agents] = await Promise.all([get("/api/stats"), get("/api/agents", { limit: 100 })]);
    summary = { stats, agents, readAt: Date.now() };
  }
  const open = await openTasks(recent.data, summary.stats);
  renderOverview(recent.data, open, summary);
  return open.some(isChanging);
}

/**
 * The open tasks to list: those among the newest, plus those that are older but not queued. Running ones come first.
 * @param {Api.Task[]} recent
 * @param {Api.Stats} stats
 */
async function openTasks(recent, stats) {
  const open = new Map(recent.filter(isOpen).map((task) => [task.id, task]));
  const incomplete = OPEN_STATUSES.filter((status) => {
    const listed = recent.filter((task) => task.status === status).length;
    return status !== "queued" && stats.tasks[status] > listed && recent.length === MAX_OPEN;
  });
  for (const status of incomplete) {
    /** @type {Api.Page<Api.Task>} */
    const page = await get("/api/tasks", { status, limit: MAX_OPEN });
    for (const task of page.data) open.set(task.id, task);
  }
  const order = ["in_progress", "assigned", "queued", "pending"];
  return [...open.values()].sort((one, other) =>
    order.indexOf(one.status) - order.indexOf(other.status) || one.createdAt.localeCompare(other.createdAt));
}

/** @type {(recent: Api.Task[], open: Api.Task[], summary: Summary) => void} */
function renderOverview(recent, open, { stats, agents }) {
  const names = new Map(agents.data.map((agent) => [agent.id, agent.name]));
  const finished = recent.filter((task) => !isOpen(task)).slice(0, MAX_FINISHED);
  const openById = new Map(open.map((task) => [task.id, task]));
  const registered = Object.values(stats.agents).reduce((sum, count) => sum + count, 0);

  render(byId("tiles"),
    tile("Running", open.filter((task) => task.status === "in_progress").length),
    tile("Waiting", stats.queueDepth + stats.tasks.pending,
      stats.oldestQueuedSeconds === null ? "the queue is empty" : `oldest for ${duration(stats.oldestQueuedSeconds)}`),
    tile("Agents online", stats.agents.active ?? 0, registered === 0 ? "none registered" : `of ${registered}`),
    tile("Completed", stats.tasks.completed, `${stats.tasks.failed.toLocaleString()} failed`));

  render(byId("open"), open.length
    ? open.slice(0, MAX_OPEN).map((task) => taskRow(task, names))
    : el("li", { class: "empty" }, recent.length ? el("p", {}, "No tasks are running or waiting. ", el("a", { href: pageUrl("new") }, "Submit a task"), ".") : noTasks()));
  render(byId("ended"), finished.length
    ? finished.map((task) => taskRow(task, names))
    : el("li", { class: "empty" }, el("p", {}, "No tasks have finished yet.")));
  render(byId("agents"), agents.data.length
    ? [...agents.data].sort((one, other) => rank(one) - rank(other)).slice(0, MAX_AGENTS).map((agent) => agentRow(agent, openById))
    : el("li", { class: "empty" }, noAgents()));
}

/**
 * Working agents come first, offline ones last.
 * @param {Api.Agent} agent
 */
const rank = (agent) => (agent.holding.length ? 0 : agent.status === "inactive" ? 2 : 1);

/** @type {(name: string, figure: number, note?: string) => HTMLElement} */
const tile = (name, figure, note) =>
  el("div", { class: "tile", "data-key": name }, el("dt", {}, name),
    el("dd", {}, el("strong", {}, figure >= 1_000 ? "1,000+" : String(figure)), note ? el("span", {}, note) : null));

await requireUser();
startPolling(refresh);
