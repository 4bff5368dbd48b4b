/** One agent: what it does; pausing, renaming, a new token, removing. */

import { get, page, patch, post, remove } from "./api.js";
import { at, el, plain, said, show } from "./dom.js";
import { howToRenew, howToStart, noTasksOf } from "./empty.js";
import { keepLooking } from "./live.js";
import { agentBadge, agentState, facts, taskRow } from "./parts.js";
import { ask, doing, entitle, say, showOnce, shown, whoAmI } from "./shell.js";
import { lasting, precisely, when } from "./time.js";

const { id, path, load } = shown("agent");
let state = null;

async function look() {
  const agent = await load();
  const tasks = await get("/api/tasks", { agentId: id, limit: 10 });
  if (state && state !== agentState(agent)) show(at("spoken"), `The agent is now: ${agentState(agent)}.`);
  state = agentState(agent);
  draw(agent, tasks.data);
  return agent.holding.length > 0;
}

function draw(agent, tasks) {
  entitle(agent.name);
  show(at("title"), said(agent.name));
  show(at("actions"), agent.paused
    ? el("button", { type: "button", class: "primary", onclick: (event) => resume(event.currentTarget, agent) }, "Resume")
    : el("button", { type: "button", onclick: (event) => pause(event.currentTarget, agent) }, "Pause"));
  show(at("now"),
    el("div", { class: "line" }, agentBadge(agent), el("span", { class: "facts" },
      el("span", {}, "seen ", when(agent.lastHeartbeat)),
      agent.reportedStatus ? el("span", {}, "says “", said(agent.reportedStatus), "”") : null,
      el("span", {}, agent.holding.length ? `holds ${agent.holding.length}${agent.concurrency ? ` of at most ${agent.concurrency}` : ""}` : "holds no task"))),
    agent.paused ? el("p", { class: "step" }, "It finishes what it runs, and takes nothing new.", agent.note ? [" Note: ", said(agent.note)] : null) : null,
    agent.status === "inactive" ? howToStart(agent) : null);
  show(at("tasks"), tasks.length
    ? tasks.map((task) => taskRow(task, null))
    : el("li", { class: "empty" }, noTasksOf(agent)));
  at("all-tasks").href = `${page("tasks")}?${new URLSearchParams({ agentId: id })}`;
  show(at("about"), facts(
    ["Id", el("code", {}, agent.id)],
    ["Can do", el("span", { class: "tags" }, agent.capabilities.map((one) => el("span", { class: "tag" }, said(one))))],
    ["Version", said(agent.version)],
    agent.platform && ["Platform", said(agent.platform)],
    agent.concurrency && ["Tasks at a time", String(agent.concurrency)],
    ...machine(agent.machine),
    ["Last seen", ...[precisely(agent.lastHeartbeat)].flat()],
    ["Registered", ...[precisely(agent.createdAt)].flat()]));
  show(at("care"),
    el("button", { type: "button", onclick: (event) => rename(event.currentTarget, agent) }, "Rename"),
    el("button", { type: "button", onclick: (event) => rotate(event.currentTarget, agent) }, "Replace its token"),
    el("button", { type: "button", class: "danger", onclick: (event) => away(event.currentTarget, agent) }, "Remove"));
}

const machine = (figures) => [
  figures.uptime !== undefined && ["Up for", lasting(figures.uptime)],
  figures.cpuUsage !== undefined && ["Processor", `${figures.cpuUsage} %`],
  figures.memoryUsage !== undefined && ["Memory", `${figures.memoryUsage.toLocaleString()} MB`],
  figures.taskCount !== undefined && ["Tasks, as it says", String(figures.taskCount)],
];

async function change(button, what, told) {
  await doing(button, async () => {
    await patch(path, what);
    say(told);
  });
  await again();
}

async function pause(button, agent) {
  const note = el("input", { id: "note", maxlength: "500", autocomplete: "off" });
  const sure = await ask({
    title: `Pause ${plain(agent.name)}?`,
    text: "It finishes what it runs, and takes nothing new until you resume it.",
    yes: "Pause",
    danger: false,
    fields: [el("label", { for: "note" }, "Note ", el("span", { class: "hint" }, "why, for your colleagues; optional")), note],
  });
  if (sure) await change(button, { paused: true, note: note.value.trim() }, "Paused.");
}

const resume = (button) => change(button, { paused: false, note: "" }, "Resumed.");

async function rename(button, agent) {
  const name = el("input", { id: "name", required: true, maxlength: "100", autocomplete: "off", value: agent.name });
  const sure = await ask({ title: "Rename the agent", yes: "Rename", danger: false, fields: [el("label", { for: "name" }, "Name"), name] });
  if (sure) await change(button, { name: name.value.trim() }, "Renamed.");
}

async function rotate(button, agent) {
  const sure = await ask({
    title: "Replace its token?",
    text: `The token that ${plain(agent.name)} has now stops working at once. It needs the new one to go on.`,
    yes: "Replace the token",
  });
  if (!sure) return;
  const made = await doing(button, () => post(`${path}/token`));
  if (made) await showOnce("The new token", "It is shown this once. Give it to the agent as DEVFLOW_TOKEN.", made.token, "The agent's new token", howToRenew(agent));
}

async function away(button, agent) {
  const sure = await ask({
    title: `Remove ${plain(agent.name)}?`,
    text: "Its token stops working. What it has claimed goes back into the queue; what it runs is tried again by another agent, or fails.",
    yes: "Remove the agent",
    no: "Keep it",
  });
  if (!sure) return;
  const gone = await doing(button, () => remove(path));
  if (gone) location.assign(page("agents"));
}

await whoAmI();
const again = keepLooking(look);
