/** The overview: what runs, what waits, what has ended, and who is there to do it. */

import { get, page } from "./api.js";
import { at, el, show } from "./dom.js";
import { noAgents, noTasks } from "./empty.js";
import { keepLooking } from "./live.js";
import { OPEN, agentRow, isOpen, moves, taskRow } from "./parts.js";
import { whoAmI } from "./shell.js";
import { lasting } from "./time.js";

const SHOWN = 30;
const FINISHED = 8;
const FIGURES_EVERY = 15_000;
/** Figures count over everything there is, so they are asked for less often than what moves. */

const known = { agents: null, stats: null, at: 0 };

async function look() {
  const recent = await get("/api/tasks", { limit: SHOWN });
  if (Date.now() - known.at >= FIGURES_EVERY || !known.stats) {
    [known.stats, known.agents] = await Promise.all([get("/api/stats"), get("/api/agents", { limit: 100 })]);
    known.at = Date.now();
  }
  const open = await stillOpen(recent.data);
  draw(recent.data, open);
  return open.some(moves);
}

/** Every open task worth showing: those among the newest, and where there are more, those that have run the longest. */
async function stillOpen(recent) {
  const open = new Map(recent.filter(isOpen).map((task) => [task.id, task]));
  const missing = OPEN.filter((status) => {
    const seen = recent.filter((task) => task.status === status).length;
    return status !== "queued" && known.stats.tasks[status] > seen && recent.length === SHOWN;
  });
  for (const status of missing) {
    for (const task of (await get("/api/tasks", { status, limit: SHOWN })).data) open.set(task.id, task);
  }
  const order = ["in_progress", "assigned", "queued", "pending"];
  return [...open.values()].sort((one, other) =>
    order.indexOf(one.status) - order.indexOf(other.status) || one.createdAt.localeCompare(other.createdAt));
}

function draw(recent, open) {
  const { stats, agents } = known;
  const names = new Map(agents.data.map((agent) => [agent.id, agent.name]));
  const ended = recent.filter((task) => !isOpen(task)).slice(0, FINISHED);
  const byId = new Map(open.map((task) => [task.id, task]));
  const there = stats.agents.active ?? 0;
  const all = Object.values(stats.agents).reduce((sum, count) => sum + count, 0);
  const waiting = stats.queueDepth + stats.tasks.pending;

  show(at("tiles"),
    tile("Running", open.filter((task) => task.status === "in_progress").length),
    tile("Waiting", waiting, stats.oldestQueuedSeconds === null ? "nothing in the queue" : `oldest for ${lasting(stats.oldestQueuedSeconds)}`),
    tile("Agents online", there, all === 0 ? "none registered" : `of ${all}`),
    tile("Completed", stats.tasks.completed, `${stats.tasks.failed.toLocaleString()} failed`));

  show(at("open"), open.length
    ? open.slice(0, SHOWN).map((task) => taskRow(task, names))
    : el("li", { class: "empty" }, recent.length ? el("p", {}, "Nothing runs and nothing waits. ", el("a", { href: page("new") }, "Submit a task"), ".") : noTasks()));
  show(at("ended"), ended.length
    ? ended.map((task) => taskRow(task, names))
    : el("li", { class: "empty" }, el("p", {}, "Nothing has finished yet.")));
  const order = (agent) => (agent.holding.length ? 0 : agent.status === "inactive" ? 2 : 1);
  show(at("agents"), agents.data.length
    ? [...agents.data].sort((one, other) => order(one) - order(other)).slice(0, 12).map((agent) => agentRow(agent, byId))
    : el("li", { class: "empty" }, noAgents()));
}

const tile = (name, figure, note) =>
  el("div", { class: "tile", "data-key": name }, el("dt", {}, name),
    el("dd", {}, el("strong", {}, figure >= 1_000 ? "1,000+" : String(figure)), note ? el("span", {}, note) : null));

await whoAmI();
keepLooking(look);
