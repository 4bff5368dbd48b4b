/** Submitting a task. */

import { get, page, post } from "./api.js";
import { at, el, plain, show } from "./dom.js";
import { sending } from "./forms.js";
import { whoAmI } from "./shell.js";

const form = at("new");
const OTHER = "…";
const DRAFT = "draft";

const drafted = () => JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
let agents = null;

// Before anything is waited for: who types at once loses nothing, either.
form.oninput = ({ target }) => {
  sessionStorage.setItem(DRAFT, JSON.stringify({ ...drafted(), [target.name]: target.value }));
  hint();
};

sending(form, async (headers) => {
  const { taskId } = await post("/api/tasks", work(), { headers });
  sessionStorage.removeItem(DRAFT);
  location.assign(page("tasks", taskId));
});

await whoAmI();
let recent;
[agents, recent] = await Promise.all([
  get("/api/agents", { limit: 100 }).catch(() => ({ data: [] })),
  get("/api/tasks", { limit: 50 }).catch(() => ({ data: [] })),
]);
offerIntents();
for (const agent of agents.data) form.agentId.append(el("option", { value: agent.id }, plain(agent.name)));
for (const repo of new Set(recent.data.map((task) => task.repo))) at("repos").append(el("option", { value: repo }));
restore();
hint();

/** Those that some agent can do, with how many can. */
function offerIntents() {
  const count = new Map();
  for (const agent of agents.data) for (const one of agent.capabilities) count.set(one, (count.get(one) ?? 0) + 1);
  const known = [...count.keys()].sort();
  for (const one of known.length ? known : ["fix-bug", "feature", "explain", "review-pr"]) {
    form.intent.append(el("option", { value: one }, plain(one)));
  }
  form.intent.append(el("option", { value: OTHER }, "Another…"));
}

function intent() {
  return form.intent.value === OTHER ? form.otherIntent.value.trim() : form.intent.value;
}

/** Whether anybody is there to do it, said beforehand. */
function hint() {
  if (!agents) return;
  const other = form.intent.value === OTHER;
  at("other").hidden = !other;
  form.otherIntent.required = other;
  const able = agents.data.filter((agent) => agent.capabilities.includes(intent()));
  const online = able.filter((agent) => agent.status === "active" && !agent.paused);
  const text = !able.length
    ? "No agent of yours can do this yet. The task waits for one, at most a day."
    : `${online.length} of ${able.length} ${able.length === 1 ? "agent" : "agents"} that can do this ${online.length === 1 ? "is" : "are"} online.`;
  show(at("intent-hint"), other && !form.otherIntent.value ? "" : text);
}

/** A session that ends, or a slip of the finger, costs no words. */
function restore() {
  for (const [name, value] of Object.entries(drafted())) if (form.elements[name]) form.elements[name].value = value;
  if (form.intent.selectedIndex < 0) form.intent.selectedIndex = 0;
}

function fields() {
  return Object.fromEntries(new FormData(form));
}

function work() {
  const given = fields();
  const body = {
    intent: intent(),
    repo: given.repo.trim(),
    naturalLanguage: given.naturalLanguage,
    priority: Number(given.priority),
    timeoutSeconds: Number(given.timeoutMinutes) * 60,
    maxAttempts: Number(given.maxAttempts),
  };
  if (given.branch.trim()) body.branch = given.branch.trim();
  if (given.agentId) body.agentId = given.agentId;
  if (given.context.trim()) body.context = parsed(given.context);
  return body;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // said below
  }
  throw new Error("The context is not a JSON object.");
}
