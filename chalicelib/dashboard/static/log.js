/** The log of an attempt, followed while the agent writes it. */

import { get } from "./api.js";
import { byId, el, render, textNodes } from "./dom.js";

const CHUNK_BYTES = 128 * 1024;
/** The page keeps this much of a log, so that the browser need not lay out megabytes. */
const KEPT_CHARACTERS = 400_000;

// Terminal control sequences (ECMA-48), and those that set a window's title.
const CONTROL_SEQUENCE = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const INCOMPLETE_SEQUENCE = /\u001b(?:\[[0-?]*[ -/]*|\][^\u0007\u001b]*)?$/;

/**
 * A chunk of a log without terminal control sequences. `rest` is an incomplete sequence at its end, which belongs in front of
 * the next chunk.
 * @param {string} chunk
 */
export function stripControlSequences(chunk) {
  const rest = INCOMPLETE_SEQUENCE.exec(chunk)?.[0] ?? "";
  const complete = rest ? chunk.slice(0, -rest.length) : chunk;
  return { text: complete.replace(CONTROL_SEQUENCE, "").replace(/\r\n?/g, "\n"), rest };
}

/**
 * What an empty log displays. `late`: the task has ended, and its agent may still send the log for some minutes.
 * @param {{ complete: boolean, late: boolean }} position
 */
function emptyText({ complete, late }) {
  if (complete) return "The log is empty.";
  return late ? "No output so far. The agent may still send it for ten minutes after the end." : "No output yet. New lines appear here automatically.";
}

/**
 * Connect the page's log to a task at this API path. `update(task)` reads what is new of the chosen attempt, by default the
 * latest. `isComplete()`: nothing more will come.
 * @param {string} path
 */
export function followLog(path) {
  const box = byId("log");
  const attemptSelect = byId("attempt", HTMLSelectElement);
  const follow = byId("follow", HTMLInputElement);
  /** @type {number | null} */
  let chosenAttempt = null;
  let position = { attempt: 0, offset: 0, complete: false, late: false, rest: "" };
  /** @type {Api.Task | null} */
  let lastTask = null;

  attemptSelect.onchange = () => {
    chosenAttempt = Number(attemptSelect.value);
    if (lastTask) update(lastTask);
  };
  follow.onchange = () => follow.checked && box.scrollTo(0, box.scrollHeight);
  box.addEventListener("scroll", () => {
    const distance = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (distance > 40) follow.checked = false;
    else if (distance < 4) follow.checked = true;
  });

  /** @param {Api.Task} task */
  function renderAttempts(task) {
    byId("attempt-label").hidden = task.attempt < 2;
    while (attemptSelect.options.length < task.attempt) {
      const number = attemptSelect.options.length + 1;
      attemptSelect.append(el("option", { value: number }, String(number)));
    }
    attemptSelect.value = String(chosenAttempt ?? task.attempt);
  }

  let updating = Promise.resolve();
  /**
   * One update at a time, so that no chunk is appended twice.
   * @param {Api.Task} task
   */
  function update(task) {
    lastTask = task;
    updating = updating.then(() => readNew(task));
    return updating;
  }

  /** @param {Api.Task} task */
  async function readNew(task) {
    renderAttempts(task);
    const attempt = chosenAttempt ?? task.attempt;
    if (position.attempt !== attempt) {
      position = { attempt, offset: 0, complete: false, late: false, rest: "" };
      render(box);
    }
    while (!position.complete) {
      /** @type {Api.LogChunk} */
      const chunk = await get(`${path}/logs`, { attempt, offset: position.offset, limit: CHUNK_BYTES });
      const { text, rest } = stripControlSequences(position.rest + chunk.data);
      position = { attempt, offset: chunk.nextOffset, complete: chunk.complete, late: chunk.openUntil !== null, rest };
      if (text) append(text);
      if (chunk.data === "") break;
    }
    box.dataset.empty = position.offset ? "" : emptyText(position);
  }

  /** @param {string} text */
  function append(text) {
    box.append(el("span", {}, textNodes(text)));
    let length = box.textContent.length;
    while (length > KEPT_CHARACTERS && box.childElementCount > 1 && box.firstElementChild) {
      length -= box.firstElementChild.textContent.length;
      box.firstElementChild.remove();
      box.dataset.cut = "Only the end of the log is displayed.";
    }
    if (follow.checked) box.scrollTo(0, box.scrollHeight);
  }

  return { update, isComplete: () => position.complete };
}
