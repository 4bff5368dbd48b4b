/** All tasks, newest first, filtered by what the address says. */

import { get } from "./api.js";
import { at, el, plain, show } from "./dom.js";
import { noTasks } from "./empty.js";
import { chosen, filtering } from "./forms.js";
import { keepListing } from "./listing.js";
import { moves, taskRow, total } from "./parts.js";
import { whoAmI } from "./shell.js";

const form = at("filters");
const asked = new URLSearchParams(location.search);

await whoAmI();
const agents = await get("/api/agents", { limit: 100 }).catch(() => ({ data: [] }));
const names = new Map(agents.data.map((agent) => [agent.id, agent.name]));

offer(form.agentId, agents.data.map((agent) => [agent.id, agent.name]));
offer(form.intent, [...new Set(agents.data.flatMap((agent) => agent.capabilities))].sort().map((one) => [one, one]));
form.status.value = asked.get("status") ?? "";

/** Options of a filter; what the address asks for is one of them, even if it is not known (any more). */
function offer(select, options) {
  const wanted = asked.get(select.name) ?? "";
  const known = options.some(([value]) => value === wanted);
  for (const [value, name] of known || !wanted ? options : [...options, [wanted, wanted]]) {
    select.append(el("option", { value }, plain(name)));
  }
  select.value = wanted;
}

const anew = keepListing("/api/tasks", {
  query: () => chosen(form),
  more: at("more"),
  draw(rows, listing) {
    show(at("count"), total(listing));
    const filtered = Object.keys(chosen(form)).length > 0;
    show(at("tasks"), rows.length
      ? rows.map((task) => taskRow(task, names))
      : el("li", { class: "empty" }, filtered ? el("p", {}, "No task is like that. ", el("a", { href: "?" }, "Show all"), ".") : noTasks()));
    return rows.some(moves);
  },
});

filtering(form, anew);
