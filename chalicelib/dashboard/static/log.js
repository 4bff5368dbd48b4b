/** The log of a task's attempt, as it is written. */

import { get } from "./api.js";
import { at, el, marked } from "./dom.js";

const PIECE = 128 * 1024;
/** So much of a log stays on the page; the browser has better things to do than to lay out megabytes. */
const KEPT = 400_000;

// What terminals take for colours and movements of the cursor (ECMA-48), and windows' titles.
const COMMANDS = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const BEGUN = /\u001b(?:\[[0-?]*[ -/]*|\][^\u0007\u001b]*)?$/;

/** A piece of a log as text: without a terminal's commands. `rest` is the beginning of one that goes on in the next. */
export function readable(piece) {
  const rest = BEGUN.exec(piece)?.[0] ?? "";
  const whole = rest ? piece.slice(0, -rest.length) : piece;
  return { text: whole.replace(COMMANDS, "").replace(/\r\n?/g, "\n"), rest };
}

/** `look(task)` reads what is new, of the attempt that is chosen: the latest, if none is. */
export function followLog(path) {
  const box = at("log");
  const choice = at("attempt");
  const follow = at("follow");
  let chosen = null;
  let read = { attempt: 0, offset: 0, complete: false, rest: "" };
  let last = null;

  choice.onchange = () => {
    chosen = Number(choice.value);
    look(last);
  };
  follow.onchange = () => follow.checked && box.scrollTo(0, box.scrollHeight);
  box.addEventListener("scroll", () => {
    const low = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (low > 40) follow.checked = false;
    else if (low < 4) follow.checked = true;
  });

  function offer(task) {
    at("attempt-label").hidden = task.attempt < 2;
    while (choice.options.length < task.attempt) {
      const number = choice.options.length + 1;
      choice.append(el("option", { value: number }, String(number)));
    }
    choice.value = String(chosen ?? task.attempt);
  }

  let looking = Promise.resolve();
  /** One reader at a time, so that no piece is shown twice. */
  function look(task) {
    last = task;
    looking = looking.then(() => once(task));
    return looking;
  }

  async function once(task) {
    offer(task);
    const attempt = chosen ?? task.attempt;
    if (read.attempt !== attempt) {
      read = { attempt, offset: 0, complete: false, rest: "" };
      box.replaceChildren();
    }
    while (!read.complete) {
      const got = await get(`${path}/logs`, { attempt, offset: read.offset, limit: PIECE });
      const { text, rest } = readable(read.rest + got.data);
      read = { attempt, offset: got.nextOffset, complete: got.complete, rest };
      if (text) append(text);
      if (got.data === "") break;
    }
    box.dataset.empty = read.offset ? "" : read.complete ? "Nothing was logged." : "Nothing yet; new lines show here by themselves.";
  }

  function append(text) {
    box.append(el("span", {}, marked(text)));
    let length = box.textContent.length;
    while (length > KEPT && box.childElementCount > 1) {
      length -= box.firstElementChild.textContent.length;
      box.firstElementChild.remove();
      box.dataset.cut = "Only the end of the log is shown.";
    }
    if (follow.checked) box.scrollTo(0, box.scrollHeight);
  }

  return { look, isWhole: () => read.complete };
}
