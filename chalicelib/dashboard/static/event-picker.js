/** Checkboxes that choose the events of a webhook. */

import { el } from "./dom.js";

export const EVENTS = ["task.created", "task.started", "task.completed", "task.failed", "task.cancelled", "agent.active", "agent.inactive", "agent.token_renewed"];

/**
 * Add a checkbox per event to `box`, and hide them while `all` is checked: it means every event, including future ones.
 * Returns a function that reads the chosen events.
 * @param {HTMLInputElement} all
 * @param {HTMLElement} box
 * @param {string[]} [chosen]
 */
export function eventPicker(all, box, chosen = ["*"]) {
  all.checked = chosen.includes("*");
  const inputs = EVENTS.map((event) =>
    el("input", { type: "checkbox", name: "event", value: event, checked: chosen.includes(event) || chosen.includes("*") }));
  box.append(...inputs.map((input) => el("label", { class: "inline" }, input, ` ${input.value}`)));
  const update = () => {
    box.hidden = all.checked;
  };
  all.addEventListener("change", update);
  update();
  return () => (all.checked ? ["*"] : inputs.filter((input) => input.checked).map((input) => input.value));
}
