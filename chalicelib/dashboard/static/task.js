/** One task: where it stands, its timeline and attempts, its log as it is written, its result. */

import { get, now, page, post } from "./api.js";
import { at, el, marked, outward, plain, said, show } from "./dom.js";
import { OVER, keepLooking } from "./live.js";
import { followLog } from "./log.js";
import { agentLink, bar, facts, isOpen, moves, percent, repository, status, statusName, taskLink } from "./parts.js";
import { ask, doing, entitle, shown, whoAmI } from "./shell.js";
import { lasting, between, precisely } from "./time.js";
import { timeline } from "./timeline.js";

const { path, load } = shown("task");
/** So long after the end an agent may still send what it has of the log (docs/protocol.md), in milliseconds. */
const FLUSH = 600_000;
const seen = { task: null, events: [], changed: "" };
const log = followLog(path);

async function look() {
  const task = await load();
  const changed = [task.updatedAt, task.status, task.attempt, task.currentStep, task.cancelRequested].join();
  if (changed !== seen.changed) seen.events = await allEvents();
  if (seen.task && seen.task.status !== task.status) show(at("spoken"), `The task is now: ${statusName(task.status)}.`);
  seen.task = task;
  seen.changed = changed;
  draw(task);
  await log.look(task);
  const isOver = !isOpen(task) && log.isWhole() && now() - Date.parse(task.completedAt) > FLUSH;
  return isOver ? OVER : moves(task);
}

async function allEvents() {
  let cursor;
  const events = [];
  do {
    const listing = await get(`${path}/events`, { limit: 100, cursor });
    events.push(...listing.data);
    cursor = listing.nextCursor;
  } while (cursor && events.length < 1_000);
  return events;
}

function draw(task) {
  entitle(task.description.slice(0, 60));
  const heading = task.description.split("\n")[0];
  show(at("title"), said(heading.length > 140 ? `${heading.slice(0, 140)}…` : heading));
  show(at("actions"), actions(task));
  show(at("now"), standing(task));
  show(at("text"), marked(task.description));
  show(at("timeline"), timeline(seen.events));
  show(at("about"), about(task));
  at("result-section").hidden = isOpen(task);
  show(at("result"), result(task));
}

function standing(task) {
  const running = task.status === "in_progress";
  return [
    el("div", { class: "line" }, status(task), el("span", { class: "facts" },
      running ? el("span", {}, `for ${between(task.startedAt)}`) : null,
      task.completedAt && task.startedAt ? el("span", {}, `took ${between(task.startedAt, task.completedAt)}`) : null,
      el("span", {}, `attempt ${task.attempt} of at most ${task.maxAttempts}`),
      task.agentId ? el("span", {}, "by ", agentLink(task.agentId)) : null)),
    isOpen(task) && (running || task.progress > 0) ? el("div", { class: "line progress" }, bar(task), el("span", {}, percent(task))) : null,
    task.currentStep && isOpen(task) ? el("p", { class: "step" }, said(task.currentStep)) : null,
    task.details && isOpen(task) ? el("p", { class: "step" }, said(task.details)) : null,
    task.status === "queued" ? el("p", { class: "step" }, task.agentId
      ? ["It waits for its agent, ", agentLink(task.agentId), "."]
      : [`It waits for an agent that can do “${plain(task.intent)}”. `, el("a", { href: page("agents") }, "Your agents"), "."]) : null,
    task.cancelRequested && isOpen(task) ? el("p", { class: "step" }, "The agent was told to stop, and has a minute to do so.") : null,
  ];
}

function actions(task) {
  if (isOpen(task)) {
    return task.cancelRequested ? null
      : el("button", { type: "button", class: "danger", onclick: (event) => cancel(event.currentTarget) }, "Cancel task");
  }
  return el("button", { type: "button", class: "primary", onclick: (event) => retry(event.currentTarget) }, "Retry");
}

async function cancel(button) {
  const sure = await ask({
    title: "Cancel this task?",
    text: seen.task.status === "in_progress"
      ? "Its agent is told to stop, and has a minute to do so."
      : "No agent will start it.",
    yes: "Cancel the task",
    no: "Keep it",
  });
  if (sure) await doing(button, () => post(`${path}/cancel`));
  await again();
}

const retry = (button) => doing(button, async () => {
  const { taskId } = await post(`${path}/retry`);
  location.assign(page("tasks", taskId));
});

function result(task) {
  if (isOpen(task)) return [];
  const files = task.resultFiles;
  return [
    task.prUrl ? el("p", {}, outward(task.prUrl, el("strong", {}, pullRequest(task.prUrl)))) : null,
    task.error ? el("p", { class: "bad" }, said(task.error)) : null,
    task.details ? el("p", {}, said(task.details)) : null,
    task.summary ? el("p", {}, said(task.summary)) : null,
    task.output ? [el("h3", {}, "Output"), el("pre", { class: "log short", tabindex: "0", "aria-label": "Output" }, marked(task.output))] : null,
    files ? [el("h3", {}, "Files"), el("pre", { class: "log short", tabindex: "0", "aria-label": "Files" }, marked(JSON.stringify(files, null, 2)))] : null,
    task.prUrl || task.error || task.summary || task.output || files ? null : el("p", {}, `${statusName(task.status)}, and nothing was told.`),
  ];
}

/** "Pull request #456", where the address looks like that. */
function pullRequest(address) {
  const number = /\/(?:pull|pulls|merge_requests|pull-requests)\/(\d+)/.exec(address);
  return number ? `Pull request #${number[1]}` : said(address);
}

function about(task) {
  return facts(
    ["Id", el("code", {}, task.id)],
    ["Intent", said(task.intent)],
    ["Repository", outward(task.repo, said(repository(task.repo)))],
    task.branch && ["Branch", said(task.branch)],
    ["Submitted", ...[precisely(task.createdAt)].flat()],
    task.startedAt && ["Started", ...[precisely(task.startedAt)].flat()],
    task.completedAt && ["Ended", ...[precisely(task.completedAt)].flat()],
    task.retryOf && ["Again for", taskLink(task.retryOf)],
    task.priority !== 0 && ["Priority", String(task.priority)],
    ["May run for", lasting(task.timeoutSeconds)],
    task.context && Object.keys(task.context).length > 0 && ["Context", el("code", {}, marked(JSON.stringify(task.context)))],
  );
}

await whoAmI();
const again = keepLooking(look);
