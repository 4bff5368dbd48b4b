/** All agents. */

import { get } from "./api.js";
import { at, el, show } from "./dom.js";
import { howToAdd, noAgents } from "./empty.js";
import { chosen, filtering } from "./forms.js";
import { keepListing } from "./listing.js";
import { agentRow, total } from "./parts.js";
import { whoAmI } from "./shell.js";

const form = at("filters");
form.status.value = new URLSearchParams(location.search).get("status") ?? "";

await whoAmI();
show(at("command"), howToAdd());

const anew = keepListing("/api/agents", {
  query: () => chosen(form),
  more: at("more"),
  async draw(rows, listing) {
    const busy = rows.some((agent) => agent.holding.length);
    const tasks = busy ? (await get("/api/tasks", { status: "in_progress", limit: 50 })).data : [];
    const byId = new Map(tasks.map((task) => [task.id, task]));
    show(at("count"), total(listing));
    at("how").hidden = rows.length === 0;
    show(at("agents"), rows.length
      ? rows.map((agent) => agentRow(agent, byId))
      : el("li", { class: "empty" }, form.status.value ? el("p", {}, "No agent is in this state. ", el("a", { href: "?" }, "Show all"), ".") : noAgents()));
    return busy;
  },
});

filtering(form, anew);
