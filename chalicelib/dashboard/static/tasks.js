/** The list of tasks, newest first. The filters are part of the page's address. */

import { get } from "./api.js";
import { isChanging, taskRow, totalLabel } from "./components.js";
import { byId, el, plainText, render } from "./dom.js";
import { noTasks } from "./empty-states.js";
import { bindFilters, formValues, selectField } from "./forms.js";
import { pollList } from "./list.js";
import { requireUser } from "./session.js";

const form = byId("filters", HTMLFormElement);
const search = new URLSearchParams(location.search);

await requireUser();
/** @type {Api.Page<Api.Agent>} */
const agents = await get("/api/agents", { limit: 100 }).catch(() => ({ data: [] }));
const names = new Map(agents.data.map((agent) => [agent.id, agent.name]));
const intents = [...new Set(agents.data.flatMap((agent) => agent.capabilities))].sort();

fillFilter("agentId", agents.data.map((agent) => [agent.id, agent.name]));
fillFilter("intent", intents.map((intent) => [intent, intent]));
selectField(form, "status").value = search.get("status") ?? "";

/**
 * Fill a filter with options of value and label. The value in the page's address becomes an option even if it is unknown.
 * @param {string} name
 * @param {[string, string][]} options
 */
function fillFilter(name, options) {
  const select = selectField(form, name);
  const wanted = search.get(name) ?? "";
  const isKnown = options.some(([value]) => value === wanted);
  for (const [value, label] of isKnown || !wanted ? options : [...options, [wanted, wanted]]) {
    select.append(el("option", { value }, plainText(label)));
  }
  select.value = wanted;
}

const reload = pollList("/api/tasks", {
  query: () => formValues(form),
  more: byId("more"),
  /** @type {(rows: Api.Task[], page: Api.Page<Api.Task>) => boolean} */
  renderRows(rows, page) {
    render(byId("count"), totalLabel(page));
    const isFiltered = Object.keys(formValues(form)).length > 0;
    render(byId("tasks"), rows.length
      ? rows.map((task) => taskRow(task, names))
      : el("li", { class: "empty" }, isFiltered ? el("p", {}, "No tasks match these filters. ", el("a", { href: "?" }, "Show all"), ".") : noTasks()));
    return rows.some(isChanging);
  },
});

bindFilters(form, reload);
