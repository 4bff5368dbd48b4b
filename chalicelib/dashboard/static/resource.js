/** What a page of one task, agent or webhook shares with the others: which one it is of, and its title. */

import { ApiError, get, pageUrl } from "./api.js";
import { byId, el, plainText, render } from "./dom.js";

/**
 * The resource that the page's address names: `path` is its address in the API, `load()` reads it. On a 404 (it does not
 * exist, or belongs to another user) the page says so and `load()` never resolves.
 * @param {"agent" | "task" | "webhook"} kind
 */
export function pageResource(kind) {
  const id = decodeURIComponent(location.pathname.replace(/\/$/, "").split("/").at(-1) ?? "");
  const path = `/api/${kind}s/${encodeURIComponent(id)}`;
  const load = () => get(path).catch((error) => {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    const main = byId("main");
    render(main, el("div", { class: "empty" },
      el("h1", {}, `This ${kind} does not exist`),
      el("p", {}, `You have no ${kind} at this address. It may have been removed, or it belongs to another user.`),
      el("p", {}, el("a", { class: "button", href: pageUrl(`${kind}s`) }, `All ${kind}s`))));
    main.focus();
    return new Promise(() => {}); // there is nothing to refresh
  });
  return { id, path, load };
}

/**
 * Set the window's title.
 * @param {string} title
 */
export function setTitle(title) {
  document.title = `${plainText(title)} · DevFlow`;
}
