/** What buttons start: one action at a time per button, marked as busy meanwhile. */

import { isBug } from "./api.js";
import { describeError, toast } from "./messages.js";

/**
 * Run an action unless this button's previous one is still running. Returns the action's result, or undefined if it did
 * not run. Errors are the caller's to handle.
 * @template T
 * @param {HTMLElement} button
 * @param {() => Promise<T>} action
 * @returns {Promise<T | undefined>}
 */
export async function runExclusive(button, action) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  try {
    return await action();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/**
 * Like `runExclusive`, but an error becomes a message on the page and the result is undefined.
 * @template T
 * @param {HTMLElement} button
 * @param {() => Promise<T>} action
 * @returns {Promise<T | undefined>}
 */
export async function withBusy(button, action) {
  try {
    return await runExclusive(button, action);
  } catch (error) {
    toast(describeError(error), "bad");
    if (isBug(error)) throw error;
    return undefined;
  }
}
