/** Text with a button that copies it. */

import { el } from "./dom.js";

/**
 * A block of text under a label, with a button that copies the text, or selects it where the browser refuses to copy.
 * @param {string} text
 * @param {string} label
 */
export function copyBlock(text, label) {
  const button = el("button", { class: "small", type: "button", "aria-label": `Copy: ${label}` }, "Copy");
  const content = el("pre", { tabindex: "0", role: "group", "aria-label": label }, el("code", {}, text));
  const announcement = el("span", { class: "visually-hidden", role: "status" });
  button.onclick = async () => {
    const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!isCopied) getSelection()?.selectAllChildren(content);
    announcement.textContent = button.textContent = isCopied ? "Copied" : "Selected";
    setTimeout(() => {
      button.textContent = "Copy";
      announcement.textContent = "";
    }, 3_000);
  };
  return el("div", { class: "copyable" }, el("div", { class: "line" }, el("span", { class: "hint" }, label), button), content, announcement);
}
