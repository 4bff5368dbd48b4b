/** Short messages at the edge of the page, and errors as text. */

import { ApiError } from "./api.js";
import { byId, el, isolate } from "./dom.js";

const VISIBLE_MS = { good: 5_000, bad: 10_000 };

/**
 * Add a short message, which disappears after a while. Screen readers read it out.
 * @param {Child} content
 * @param {"good" | "bad"} [kind]
 */
export function toast(content, kind = "good") {
  const box = el("div", { class: `toast ${kind}` }, content);
  byId("toasts").append(box);
  setTimeout(() => box.remove(), VISIBLE_MS[kind]);
}

/**
 * An error's message, followed by the details that the API returned.
 * @param {unknown} error
 * @returns {Child[]}
 */
export function describeError(error) {
  const details = error instanceof ApiError ? error.details : [];
  return [error instanceof Error ? error.message : String(error), ...details.map((detail) => el("div", {}, isolate(detail)))];
}
