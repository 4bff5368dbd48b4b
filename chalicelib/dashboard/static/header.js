/** The header of every page: the link to the current page, and the user who is logged in. */

import { isolate, render } from "./dom.js";

for (const link of document.querySelectorAll("[data-for]")) {
  const names = link.getAttribute("data-for")?.split(" ") ?? [];
  if (names.includes(document.documentElement.dataset.page ?? "")) link.setAttribute("aria-current", "page");
}

/**
 * Render the user's name, or a link to the login page for null.
 * @param {Api.Me | null} me
 */
export function renderUser(me) {
  for (const link of document.querySelectorAll(".user-name")) {
    link.toggleAttribute("hidden", !me);
    if (me) render(link, isolate(me.user.name || me.user.email));
  }
  for (const link of document.querySelectorAll(".log-in")) link.toggleAttribute("hidden", Boolean(me));
}
