/** One agent: its state and tasks; pausing, renaming, its rules, a new token, removing it. */

import { withBusy } from "./actions.js";
import { get, pageUrl, patch, post, remove } from "./api.js";
import { agentBadge, agentState, definitionList, taskRow } from "./components.js";
import { openDialog, openSecretDialog } from "./dialogs.js";
import { byId, el, isolate, plainText, render } from "./dom.js";
import { howToRestart, howToRotateToken, noTasksOfAgent } from "./empty-states.js";
import { toast } from "./messages.js";
import { startPolling } from "./polling.js";
import { pageResource, setTitle } from "./resource.js";
import { requireUser } from "./session.js";
import { duration, fullTime, timeAgo } from "./time.js";

const { id, path, load } = pageResource("agent");
let lastState = "";

async function refresh() {
  /** @type {Api.Agent} */
  const agent = await load();
  /** @type {Api.Page<Api.Task>} */
  const tasks = await get("/api/tasks", { agentId: id, limit: 10 });
  const state = agentState(agent);
  if (lastState && lastState !== state) render(byId("spoken"), `Agent state: ${state}.`);
  lastState = state;
  renderAgent(agent, tasks.data);
  return agent.holding.length > 0;
}

/** @type {(agent: Api.Agent, tasks: Api.Task[]) => void} */
function renderAgent(agent, tasks) {
  setTitle(agent.name);
  render(byId("title"), isolate(agent.name));
  render(byId("actions"), agent.paused
    ? el("button", { type: "button", class: "primary", onclick: (event) => resume(event.currentTarget) }, "Resume")
    : el("button", { type: "button", onclick: (event) => pause(event.currentTarget, agent) }, "Pause"));
  render(byId("now"),
    el("div", { class: "line" }, agentBadge(agent), el("span", { class: "facts" },
      el("span", {}, "last seen ", timeAgo(agent.lastHeartbeat)),
      agent.reportedStatus ? el("span", {}, "reports “", isolate(agent.reportedStatus), "”") : null,
      el("span", {}, taskCount(agent)))),
    agent.paused ? el("p", { class: "step" }, "The agent finishes its running tasks and claims no new ones.", agent.note ? [" Note: ", isolate(agent.note)] : null) : null,
    agent.status === "inactive" ? howToRestart(agent) : null);
  render(byId("tasks"), tasks.length
    ? tasks.map((task) => taskRow(task, null))
    : el("li", { class: "empty" }, noTasksOfAgent(agent)));
  byId("all-tasks", HTMLAnchorElement).href = `${pageUrl("tasks")}?${new URLSearchParams({ agentId: id })}`;
  render(byId("about"), definitionList(
    ["Id", el("code", {}, agent.id)],
    ["Capabilities", el("span", { class: "tags" }, agent.capabilities.map((name) => el("span", { class: "tag" }, isolate(name))))],
    ["Version", isolate(agent.version)],
    agent.platform && ["Platform", isolate(agent.platform)],
    agent.concurrency && ["Concurrency", String(agent.concurrency)],
    ["Repositories", ruleTags(agent.repos, "all")],
    ["Submitters", ruleTags(agent.submitters, "everybody who may submit")],
    ...machineFigures(agent.machine),
    ["Last seen", ...fullTime(agent.lastHeartbeat)],
    ["Registered", ...fullTime(agent.createdAt)]));
  render(byId("care"),
    el("button", { type: "button", onclick: (event) => rename(event.currentTarget, agent) }, "Rename"),
    el("button", { type: "button", onclick: (event) => editRules(event.currentTarget, agent) }, "Edit rules"),
    el("button", { type: "button", onclick: (event) => rotateToken(event.currentTarget, agent) }, "Rotate token"),
    el("button", { type: "button", class: "danger", onclick: (event) => removeAgent(event.currentTarget, agent) }, "Remove"));
}

/**
 * A rule about which tasks the agent claims; `none` if there is no rule.
 * @type {(values: string[] | null, none: string) => Child}
 */
const ruleTags = (values, none) =>
  values ? el("span", { class: "tags" }, values.map((value) => el("span", { class: "tag" }, isolate(value)))) : none;

/**
 * How many tasks the agent has claimed or is running.
 * @param {Api.Agent} agent
 */
function taskCount({ holding, concurrency }) {
  if (!holding.length) return "has no tasks";
  const tasks = holding.length === 1 && !concurrency ? "task" : "tasks";
  return `has ${holding.length}${concurrency ? ` of at most ${concurrency}` : ""} ${tasks}`;
}

/**
 * @param {Api.Agent["machine"]} machine
 * @returns {([string, string] | false)[]}
 */
const machineFigures = ({ uptime, cpuUsage, memoryUsage, taskCount: reported }) => [
  typeof uptime === "number" && ["Uptime", duration(uptime)],
  typeof cpuUsage === "number" && ["Processor", `${cpuUsage} %`],
  typeof memoryUsage === "number" && ["Memory", `${memoryUsage.toLocaleString()} MB`],
  typeof reported === "number" && ["Reported tasks", String(reported)],
];

/** @type {(button: HTMLElement, fields: object, message: string) => Promise<void>} */
async function change(button, fields, message) {
  await withBusy(button, async () => {
    await patch(path, fields);
    toast(message);
  });
  await refreshNow();
}

/** @type {(button: HTMLElement, agent: Api.Agent) => Promise<void>} */
async function pause(button, agent) {
  const note = el("input", { id: "note", maxlength: "500", autocomplete: "off" });
  const isConfirmed = await openDialog({
    title: `Pause ${plainText(agent.name)}?`,
    text: "The agent finishes its running tasks and claims no new ones until you resume it.",
    confirm: "Pause",
    danger: false,
    fields: [el("label", { for: "note" }, "Note ", el("span", { class: "hint" }, "the reason, for your colleagues (optional)")), note],
  });
  if (isConfirmed) await change(button, { paused: true, note: note.value.trim() }, "Agent paused.");
}

/** @param {HTMLElement} button */
const resume = (button) => change(button, { paused: false, note: "" }, "Agent resumed.");

/** @type {(button: HTMLElement, agent: Api.Agent) => Promise<void>} */
async function rename(button, agent) {
  const name = el("input", { id: "name", required: true, maxlength: "100", autocomplete: "off", value: agent.name });
  const isConfirmed = await openDialog({ title: "Rename agent", confirm: "Rename", danger: false, fields: [el("label", { for: "name" }, "Name"), name] });
  if (isConfirmed) await change(button, { name: name.value.trim() }, "Agent renamed.");
}

/** @type {(button: HTMLElement, agent: Api.Agent) => Promise<void>} */
async function editRules(button, agent) {
  const repos = rulesField("repos", agent.repos);
  const submitters = rulesField("submitters", agent.submitters);
  const isConfirmed = await openDialog({
    title: "Edit rules",
    text: "The agent claims only tasks that both lists admit. An empty list admits all. Running tasks continue.",
    confirm: "Save",
    danger: false,
    fields: [
      el("label", { for: "repos" }, "Repositories ", el("span", { class: "hint" }, "one pattern in each line, for example https://github.com/acme/*")), repos,
      el("label", { for: "submitters" }, "Submitters ", el("span", { class: "hint" }, "one user id in each line")), submitters,
    ],
  });
  if (isConfirmed) await change(button, { repos: listOrNull(repos), submitters: listOrNull(submitters) }, "Rules saved.");
}

/** @type {(id: string, values: string[] | null) => HTMLTextAreaElement} */
const rulesField = (id, values) => el("textarea", { id, class: "code", rows: 4, spellcheck: "false" }, (values ?? []).join("\n"));

/** @param {HTMLTextAreaElement} area */
const lines = (area) => area.value.split("\n").map((line) => line.trim()).filter(Boolean);

/** The lines of a text area. `null`, which removes a rule, without any. @type {(area: HTMLTextAreaElement) => string[] | null} */
const listOrNull = (area) => (lines(area).length ? lines(area) : null);

/** @type {(button: HTMLElement, agent: Api.Agent) => Promise<void>} */
async function rotateToken(button, agent) {
  const isConfirmed = await openDialog({
    title: "Rotate the agent's token?",
    text: `The current token of ${plainText(agent.name)} stops working at once. The agent needs the new token to continue.`,
    confirm: "Rotate the token",
  });
  if (!isConfirmed) return;
  /** @type {Api.AgentWithToken | undefined} */
  const rotated = await withBusy(button, () => post(`${path}/token`));
  if (!rotated) return;
  await openSecretDialog({
    title: "New token",
    text: "Copy the token now: it is displayed only once. Pass it to the agent as DEVFLOW_TOKEN.",
    secret: rotated.token,
    label: "The agent's new token",
    more: howToRotateToken(agent),
  });
}

/** @type {(button: HTMLElement, agent: Api.Agent) => Promise<void>} */
async function removeAgent(button, agent) {
  const isConfirmed = await openDialog({
    title: `Remove ${plainText(agent.name)}?`,
    text: "Its token stops working. Tasks that it has claimed but not started return to the queue. Tasks that it is running get another attempt, or fail if none is left.",
    confirm: "Remove the agent",
    cancel: "Keep it",
  });
  if (!isConfirmed) return;
  const removed = await withBusy(button, () => remove(path));
  if (removed) location.assign(pageUrl("agents"));
}

await requireUser();
const refreshNow = startPolling(refresh);
