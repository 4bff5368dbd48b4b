/** The form that submits a task. */

import { get, pageUrl, post } from "./api.js";
import { byId, el, plainText, render } from "./dom.js";
import { field, formValues, handleSubmit, selectField } from "./forms.js";
import { requireUser } from "./session.js";

const form = byId("new", HTMLFormElement);
const intentSelect = selectField(form, "intent");
const otherIntent = field(form, "otherIntent");
const OTHER = "…";
const DRAFT = "draft";
const DEFAULT_INTENTS = ["fix-bug", "feature", "explain", "review-pr"];

/** @type {() => Record<string, string>} */
const readDraft = () => JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
/** @type {Api.Agent[] | null} */
let agents = null;

// Before the first request, so that text typed meanwhile is in the draft.
form.oninput = ({ target }) => {
  if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement) {
    sessionStorage.setItem(DRAFT, JSON.stringify({ ...readDraft(), [target.name]: target.value }));
  }
  renderIntentHint();
};

handleSubmit(form, async (headers) => {
  /** @type {Api.SubmittedTask} */
  const { taskId } = await post("/api/tasks", taskFields(), { headers });
  sessionStorage.removeItem(DRAFT);
  location.assign(pageUrl("tasks", taskId));
});

await requireUser();
/** @type {[Api.Page<Api.Agent>, Api.Page<Api.Task>]} */
const [agentPage, taskPage] = await Promise.all([
  get("/api/agents", { limit: 100 }).catch(() => ({ data: [] })),
  get("/api/tasks", { limit: 50 }).catch(() => ({ data: [] })),
]);
agents = agentPage.data;
fillIntents(agents);
for (const agent of agents) selectField(form, "agentId").append(el("option", { value: agent.id }, plainText(agent.name)));
for (const repo of new Set(taskPage.data.map((task) => task.repo))) byId("repos").append(el("option", { value: repo }));
restoreDraft();
renderIntentHint();

/**
 * Offer the intents that an agent supports, or a few common ones if there is none.
 * @param {Api.Agent[]} all
 */
function fillIntents(all) {
  const supported = [...new Set(all.flatMap((agent) => agent.capabilities))].sort();
  for (const intent of supported.length ? supported : DEFAULT_INTENTS) {
    intentSelect.append(el("option", { value: intent }, plainText(intent)));
  }
  intentSelect.append(el("option", { value: OTHER }, "Other…"));
}

function chosenIntent() {
  return intentSelect.value === OTHER ? otherIntent.value.trim() : intentSelect.value;
}

/** How many agents support the chosen intent, and how many of them are online. */
function renderIntentHint() {
  if (!agents) return;
  const isOther = intentSelect.value === OTHER;
  byId("other").hidden = !isOther;
  otherIntent.required = isOther;
  const capable = agents.filter((agent) => agent.capabilities.includes(chosenIntent()));
  const online = capable.filter((agent) => agent.status === "active" && !agent.paused);
  const text = capable.length
    ? `${online.length} of ${capable.length} ${capable.length === 1 ? "agent" : "agents"} with this capability ${online.length === 1 ? "is" : "are"} online.`
    : "None of your agents supports this intent yet. The task waits up to 24 hours for one.";
  render(byId("intent-hint"), isOther && !otherIntent.value ? "" : text);
}

/** Fill in the draft, which survives the end of a session and a reload. */
function restoreDraft() {
  for (const [name, value] of Object.entries(readDraft())) if (form.elements.namedItem(name)) field(form, name).value = value;
  if (intentSelect.selectedIndex < 0) intentSelect.selectedIndex = 0;
}

/** The request body. Throws if the context is not a JSON object. */
function taskFields() {
  const values = formValues(form);
  const branch = values.branch?.trim();
  return {
    intent: chosenIntent(),
    repo: values.repo.trim(),
    naturalLanguage: values.naturalLanguage,
    priority: Number(values.priority),
    timeoutSeconds: Number(values.timeoutMinutes) * 60,
    maxAttempts: Number(values.maxAttempts),
    ...(branch ? { branch } : {}),
    ...(values.agentId ? { agentId: values.agentId } : {}),
    ...(values.context?.trim() ? { context: parseContext(values.context) } : {}),
  };
}

/** @param {string} text */
function parseContext(text) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // the error below
  }
  throw new Error('The context is not a JSON object. Enter one such as {"issueId": "123"}, or leave the field empty.');
}
