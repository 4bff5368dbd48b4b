/** The list of agents. */

import { get } from "./api.js";
import { agentRow, totalLabel } from "./components.js";
import { byId, el, render } from "./dom.js";
import { howToAddAgent, noAgents } from "./empty-states.js";
import { bindFilters, formValues, selectField } from "./forms.js";
import { pollList } from "./list.js";
import { registerMachineButton } from "./register-machine.js";
import { requireUser } from "./session.js";

const form = byId("filters", HTMLFormElement);
const statusFilter = selectField(form, "status");
statusFilter.value = new URLSearchParams(location.search).get("status") ?? "";

await requireUser();
render(byId("command"), howToAddAgent());
render(byId("actions"), registerMachineButton());

const reload = pollList("/api/agents", {
  query: () => formValues(form),
  more: byId("more"),
  /** @type {(rows: Api.Agent[], page: Api.Page<Api.Agent>) => Promise<boolean>} */
  async renderRows(rows, page) {
    const isBusy = rows.some((agent) => agent.holding.length);
    /** @type {Api.Task[]} */
    const tasks = isBusy ? (await get("/api/tasks", { status: "in_progress", limit: 50 })).data : [];
    const tasksById = new Map(tasks.map((task) => [task.id, task]));
    render(byId("count"), totalLabel(page));
    byId("how").hidden = rows.length === 0;
    render(byId("agents"), rows.length
      ? rows.map((agent) => agentRow(agent, tasksById))
      : el("li", { class: "empty" }, statusFilter.value ? el("p", {}, "No agents match this filter. ", el("a", { href: "?" }, "Show all"), ".") : noAgents()));
    return isBusy;
  },
});

bindFilters(form, reload);
