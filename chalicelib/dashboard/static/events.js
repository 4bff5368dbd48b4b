/** Which events a webhook is told of: boxes to tick. */

import { el } from "./dom.js";

export const EVENTS = ["task.created", "task.started", "task.completed", "task.failed", "task.cancelled", "agent.active", "agent.inactive"];

/** Boxes in `box`, where `all` stands for every event, also those there will be. */
export function offerEvents(all, box, chosen = ["*"]) {
  all.checked = chosen.includes("*");
  box.append(...EVENTS.map((event) =>
    el("label", { class: "inline" }, el("input", { type: "checkbox", name: "event", value: event, checked: chosen.includes(event) || chosen.includes("*") }), ` ${event}`)));
  const boxes = [...box.querySelectorAll("input")];
  const settle = () => {
    box.hidden = all.checked;
  };
  all.addEventListener("change", settle);
  settle();
  return () => (all.checked ? ["*"] : boxes.filter((one) => one.checked).map((one) => one.value));
}
