/** One task: its status, timeline, log and result; cancelling and retrying it. */

import { withBusy } from "./actions.js";
import { get, pageUrl, post } from "./api.js";
import { agentLink, definitionList, isChanging, isOpen, percent, progressBar, shortRepo, statusBadge, statusLabel, taskLink } from "./components.js";
import { openDialog } from "./dialogs.js";
import { byId, el, externalLink, isolate, render, textNodes } from "./dom.js";
import { followLog } from "./log.js";
import { DONE, startPolling } from "./polling.js";
import { pageResource, setTitle } from "./resource.js";
import { requireUser } from "./session.js";
import { duration, durationBetween, fullTime } from "./time.js";
import { timeline } from "./timeline.js";

const { path, load } = pageResource("task");
const MAX_TITLE = 140;
const MAX_EVENTS = 1_000;
const log = followLog(path);

/** @type {Api.TaskDetail | null} */
let lastTask = null;
let lastVersion = "";
/** @type {Api.TaskEvent[]} */
let events = [];

async function refresh() {
  /** @type {Api.TaskDetail} */
  const task = await load();
  const version = [task.updatedAt, task.status, task.attempt, task.currentStep, task.cancelRequested].join();
  if (version !== lastVersion) events = await readEvents();
  if (lastTask && lastTask.status !== task.status) render(byId("spoken"), `Task status: ${statusLabel(task.status)}.`);
  lastTask = task;
  lastVersion = version;
  renderTask(task);
  await log.update(task);
  return log.isComplete() && !isOpen(task) ? DONE : isChanging(task);
}

async function readEvents() {
  /** @type {string | null} */
  let cursor = null;
  /** @type {Api.TaskEvent[]} */
  const all = [];
  do {
    /** @type {Api.Page<Api.TaskEvent>} */
    const page = await get(`${path}/events`, { limit: 100, cursor });
    all.push(...page.data);
    cursor = page.nextCursor;
  } while (cursor && all.length < MAX_EVENTS);
  return all;
}

/** @param {Api.TaskDetail} task */
function renderTask(task) {
  setTitle(task.description.slice(0, 60));
  const heading = task.description.split("\n")[0];
  render(byId("title"), isolate(heading.length > MAX_TITLE ? `${heading.slice(0, MAX_TITLE)}…` : heading));
  render(byId("actions"), actionButton(task));
  render(byId("now"), statusSummary(task));
  render(byId("text"), textNodes(task.description));
  render(byId("timeline"), timeline(events));
  render(byId("about"), details(task));
  byId("result-section").hidden = isOpen(task);
  render(byId("result"), isOpen(task) ? null : result(task));
}

/**
 * @param {Api.TaskDetail} task
 * @returns {Child[]}
 */
function statusSummary(task) {
  const isRunning = task.status === "in_progress";
  const open = isOpen(task);
  return [
    el("div", { class: "line" }, statusBadge(task), el("span", { class: "facts" },
      isRunning && task.startedAt ? el("span", {}, `for ${durationBetween(task.startedAt)}`) : null,
      task.completedAt && task.startedAt ? el("span", {}, `took ${durationBetween(task.startedAt, task.completedAt)}`) : null,
      el("span", {}, `attempt ${task.attempt} of at most ${task.maxAttempts}`),
      task.agentId ? el("span", {}, "by ", agentLink(task.agentId)) : null)),
    open && (isRunning || task.progress > 0) ? el("div", { class: "line progress" }, progressBar(task), el("span", {}, percent(task))) : null,
    open && task.currentStep ? el("p", { class: "step" }, isolate(task.currentStep)) : null,
    open && task.details ? el("p", { class: "step" }, isolate(task.details)) : null,
    task.waitingReason ? el("p", { class: "step" }, isolate(task.waitingReason.message), " ", el("a", { href: pageUrl("agents") }, "View agents")) : null,
    task.status === "queued" && !task.waitingReason ? el("p", { class: "step" }, "Waiting for the next poll of an agent.") : null,
    open && task.cancelRequested ? el("p", { class: "step" }, "Cancellation was requested. The agent has one minute to stop.") : null,
  ];
}

/** @param {Api.TaskDetail} task */
function actionButton(task) {
  if (!isOpen(task)) return el("button", { type: "button", class: "primary", onclick: (event) => retry(event.currentTarget) }, "Retry");
  if (task.cancelRequested) return null;
  return el("button", { type: "button", class: "danger", onclick: (event) => cancel(event.currentTarget) }, "Cancel task");
}

/** @param {HTMLElement} button */
async function cancel(button) {
  const isConfirmed = await openDialog({
    title: "Cancel this task?",
    text: lastTask?.status === "in_progress"
      ? "The agent that runs this task is asked to stop, and has one minute to do so."
      : "No agent will start this task.",
    confirm: "Cancel the task",
    cancel: "Keep it",
  });
  if (isConfirmed) await withBusy(button, () => post(`${path}/cancel`));
  await refreshNow();
}

/** @param {HTMLElement} button */
const retry = (button) => withBusy(button, async () => {
  /** @type {Api.SubmittedTask} */
  const { taskId } = await post(`${path}/retry`);
  location.assign(pageUrl("tasks", taskId));
});

/**
 * @param {Api.TaskDetail} task
 * @returns {Child[]}
 */
function result(task) {
  const { prUrl, error, summary, output, resultFiles } = task;
  return [
    prUrl ? el("p", {}, externalLink(prUrl, el("strong", {}, pullRequestLabel(prUrl)))) : null,
    error ? el("p", { class: "bad" }, isolate(error)) : null,
    task.details ? el("p", {}, isolate(task.details)) : null,
    summary ? el("p", {}, isolate(summary)) : null,
    output ? [el("h3", {}, "Output"), el("pre", { class: "log short", tabindex: "0", "aria-label": "Output" }, textNodes(output))] : null,
    resultFiles ? [el("h3", {}, "Files"), el("pre", { class: "log short", tabindex: "0", "aria-label": "Files" }, textNodes(JSON.stringify(resultFiles, null, 2)))] : null,
    prUrl || error || summary || output || resultFiles ? null : el("p", {}, `${statusLabel(task.status)}. No result was reported.`),
  ];
}

/**
 * "Pull request #456", if the address looks like that of a pull request.
 * @param {string} address
 */
function pullRequestLabel(address) {
  const number = /\/(?:pull|pulls|merge_requests|pull-requests)\/(\d+)/.exec(address);
  return number ? `Pull request #${number[1]}` : isolate(address);
}

/** @param {Api.TaskDetail} task */
function details(task) {
  return definitionList(
    ["Id", el("code", {}, task.id)],
    ["Intent", isolate(task.intent)],
    ["Repository", externalLink(task.repo, isolate(shortRepo(task.repo)))],
    task.branch && ["Branch", isolate(task.branch)],
    ["Submitted", ...fullTime(task.createdAt)],
    task.startedAt && ["Started", ...fullTime(task.startedAt)],
    task.completedAt && ["Ended", ...fullTime(task.completedAt)],
    task.retryOf && ["Retry of", taskLink(task.retryOf)],
    task.priority !== 0 && ["Priority", String(task.priority)],
    ["Time limit", duration(task.timeoutSeconds)],
    task.context && Object.keys(task.context).length > 0 && ["Context", el("code", {}, textNodes(JSON.stringify(task.context)))]);
}

await requireUser();
const refreshNow = startPolling(refresh);
