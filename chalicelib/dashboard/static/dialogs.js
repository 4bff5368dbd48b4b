/** Dialogs over the page: confirmation, a few fields to edit, a secret to copy. */

import { copyBlock } from "./clipboard.js";
import { el } from "./dom.js";

/**
 * Open a dialog and wait for its end. `confirm` and `cancel` are the texts of the buttons; null for no cancel button.
 * `fields` are elements between the text and the buttons. Resolves to true for `confirm`, to false for `cancel` and Escape.
 * Without a cancel button, Escape does not close the dialog.
 * @param {{ title: string, text?: string, confirm: string, cancel?: string | null, danger?: boolean, fields?: Child[] }} options
 * @returns {Promise<boolean>}
 */
export function openDialog({ title, text, confirm, cancel = "Cancel", danger = true, fields = [] }) {
  return new Promise((resolve) => {
    const dialog = el("dialog", { "aria-labelledby": "dialog-title" },
      el("form", { method: "dialog" },
        el("h2", { id: "dialog-title" }, title),
        text ? el("p", {}, text) : null,
        fields,
        el("div", { class: "row end" },
          cancel ? el("button", { type: "button", onclick: () => { dialog.close("cancelled"); } }, cancel) : null,
          el("button", { class: danger ? "danger" : "primary", type: "submit", value: "confirmed" }, confirm))));
    dialog.onclose = () => {
      dialog.remove();
      resolve(dialog.returnValue === "confirmed");
    };
    if (!cancel) {
      dialog.oncancel = (event) => event.preventDefault();
      dialog.onkeydown = (event) => { // some browsers close a dialog at the second Escape, whatever `oncancel` does
        if (event.key === "Escape") event.preventDefault();
      };
    }
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Open a dialog with a secret that the API returns only once. Resolves when the user closes it.
 * @param {{ title: string, text: string, secret: string, label: string, more?: Child[] }} options
 */
export const openSecretDialog = ({ title, text, secret, label, more = [] }) =>
  openDialog({ title, text, confirm: "I have copied it", cancel: null, danger: false, fields: [copyBlock(secret, label), ...more] });
