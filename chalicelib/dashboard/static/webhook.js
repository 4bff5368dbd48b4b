/** One webhook: its deliveries with every attempt, redelivery, a test event; editing and removing it. */

import { withBusy } from "./actions.js";
import { pageUrl, patch, post, remove } from "./api.js";
import { definitionList, eventSummary, webhookBadge } from "./components.js";
import { openDialog, openSecretDialog } from "./dialogs.js";
import { byId, el, isolate, plainText, render, textNodes } from "./dom.js";
import { noDeliveries } from "./empty-states.js";
import { EVENTS, eventPicker } from "./event-picker.js";
import { bindFilters, formValues, selectField } from "./forms.js";
import { pollList } from "./list.js";
import { toast } from "./messages.js";
import { pageResource, setTitle } from "./resource.js";
import { requireUser } from "./session.js";
import { fullTime, timeAgo } from "./time.js";

const { id, path, load } = pageResource("webhook");
const STATUS_LABELS = { pending: "Pending", delivered: "Delivered", failed: "Failed" };
const STATUS_CLASSES = { pending: "queued", delivered: "completed", failed: "failed" };

/** @param {Api.Webhook} webhook */
function renderWebhook(webhook) {
  setTitle(webhook.url);
  render(byId("title"), isolate(webhook.url));
  render(byId("actions"),
    webhook.enabled ? el("button", { type: "button", class: "primary", onclick: (event) => sendTest(event.currentTarget) }, "Send test event") : null,
    el("button", { type: "button", onclick: (event) => change(event.currentTarget, { enabled: !webhook.enabled }, webhook.enabled ? "Webhook disabled." : "Webhook enabled.") },
      webhook.enabled ? "Disable" : "Enable"));
  render(byId("now"),
    el("div", { class: "line" }, webhookBadge(webhook), el("span", { class: "facts" },
      webhook.failingSince ? el("span", {}, "since ", timeAgo(webhook.failingSince)) : null,
      el("span", {}, `receives ${eventSummary(webhook)}`))),
    webhook.description ? el("p", { class: "step" }, isolate(webhook.description)) : null,
    webhook.disabledReason ? el("p", { class: "step bad" }, isolate(webhook.disabledReason)) : null);
  render(byId("about"), definitionList(
    ["Id", el("code", {}, webhook.id)],
    webhook.oldSecretsUntil && ["Old secret signs until", ...fullTime(webhook.oldSecretsUntil)],
    ["Added", ...fullTime(webhook.createdAt)],
    ["Changed", ...fullTime(webhook.updatedAt)]));
  render(byId("care"),
    el("button", { type: "button", onclick: (event) => edit(event.currentTarget, webhook) }, "Edit"),
    el("button", { type: "button", onclick: (event) => rotateSecret(event.currentTarget) }, "Rotate secret"),
    el("button", { type: "button", class: "danger", onclick: (event) => removeWebhook(event.currentTarget, webhook) }, "Remove"));
}

/** @param {Api.Delivery} delivery */
function deliveryRow(delivery) {
  return el("li", { class: "item", "data-key": delivery.id },
    el("div", { class: "line" },
      el("strong", {}, isolate(delivery.event)),
      el("span", { class: `status ${STATUS_CLASSES[delivery.status]}` }, STATUS_LABELS[delivery.status] ?? delivery.status)),
    delivery.error ? el("p", { class: "step bad" }, isolate(delivery.error)) : null,
    el("p", { class: "facts" },
      el("span", {}, timeAgo(delivery.createdAt)),
      el("span", {}, `${delivery.attempts.length} ${delivery.attempts.length === 1 ? "attempt" : "attempts"}`),
      delivery.nextAttemptAt ? el("span", {}, "next ", timeAgo(delivery.nextAttemptAt)) : null,
      el("code", {}, delivery.id)),
    el("details", {},
      el("summary", {}, "Attempts and payload"),
      el("div", { class: "stack" },
        delivery.attempts.length ? el("ol", { class: "timeline" }, delivery.attempts.map(attemptRow)) : el("p", {}, "No attempts yet."),
        el("h3", {}, "Payload"),
        el("pre", { class: "log short", tabindex: "0", "aria-label": "Payload" }, textNodes(JSON.stringify(delivery.payload, null, 2))),
        el("div", { class: "row" }, el("button", { type: "button", class: "small", onclick: (event) => redeliver(event.currentTarget, delivery) }, "Redeliver")))));
}

/** @param {Api.DeliveryAttempt} attempt */
function attemptRow({ status, latencyMs, error, timestamp, answer }) {
  const isSuccess = status !== null && status >= 200 && status < 300;
  return el("li", { class: `event ${isSuccess ? "completed" : "failed"}` },
    el("div", { class: "line" },
      el("span", {}, el("strong", {}, status === null ? "No response" : String(status)), ` after ${latencyMs.toLocaleString()} ms`,
        error ? [" – ", isolate(error)] : null),
      timeAgo(timestamp)),
    answer ? el("pre", { class: "log short", tabindex: "0", "aria-label": "Response body" }, textNodes(answer)) : null);
}

/** @param {HTMLElement} button */
const sendTest = (button) => withBusy(button, async () => {
  await post(`${path}/test`);
  toast("Test event queued.");
  await reload();
});

/** @type {(button: HTMLElement, delivery: Api.Delivery) => Promise<void>} */
const redeliver = (button, delivery) => withBusy(button, async () => {
  await post(`${path}/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
  toast("Redelivery queued.");
  await reload();
});

/** @type {(button: HTMLElement, fields: object, message: string) => Promise<void>} */
const change = (button, fields, message) => withBusy(button, async () => {
  await patch(path, fields);
  toast(message);
  await reload();
});

/** @type {(button: HTMLElement, webhook: Api.Webhook) => Promise<void>} */
async function edit(button, webhook) {
  const url = el("input", { id: "url", type: "url", required: true, maxlength: "2048", value: webhook.url });
  const description = el("input", { id: "description", maxlength: "200", value: webhook.description ?? "" });
  const all = el("input", { type: "checkbox" });
  const box = el("div", { class: "checks" });
  const chosenEvents = eventPicker(all, box, webhook.events.length ? webhook.events : EVENTS);
  const isConfirmed = await openDialog({
    title: "Edit webhook", confirm: "Save", danger: false,
    fields: [
      el("label", { for: "url" }, "URL"), url,
      el("label", { for: "description" }, "Description"), description,
      el("fieldset", {}, el("legend", {}, "Events"), el("label", { class: "inline" }, all, " All events"), box),
    ],
  });
  if (isConfirmed) await change(button, { url: url.value.trim(), description: description.value.trim(), events: chosenEvents() }, "Webhook saved.");
}

/** @param {HTMLElement} button */
async function rotateSecret(button) {
  const isConfirmed = await openDialog({
    title: "Rotate the signing secret?",
    text: "For 24 hours both secrets sign, so that you can update your program.",
    confirm: "Rotate the secret", danger: false,
  });
  if (!isConfirmed) return;
  /** @type {Api.WebhookWithSecret | undefined} */
  const rotated = await withBusy(button, () => post(`${path}/rotate-secret`, {}, { headers: { "Idempotency-Key": crypto.randomUUID() } }));
  if (!rotated) return;
  await openSecretDialog({
    title: "New signing secret",
    text: "Copy the secret now: it is displayed only once.",
    secret: rotated.secret,
    label: "The webhook's new signing secret",
  });
}

/** @type {(button: HTMLElement, webhook: Api.Webhook) => Promise<void>} */
async function removeWebhook(button, webhook) {
  const isConfirmed = await openDialog({
    title: "Remove this webhook?",
    text: `${plainText(webhook.url)} will receive no further events.`,
    confirm: "Remove the webhook",
    cancel: "Keep it",
  });
  if (!isConfirmed) return;
  const removed = await withBusy(button, () => remove(path));
  if (removed) location.assign(pageUrl("webhooks"));
}

await requireUser();
const filters = byId("filters", HTMLFormElement);
const statusFilter = selectField(filters, "status");
statusFilter.value = new URLSearchParams(location.search).get("status") ?? "";
const reload = pollList(`${path}/deliveries`, {
  query: () => formValues(filters),
  more: byId("more"),
  before: async () => renderWebhook(await load()),
  /** @param {Api.Delivery[]} rows */
  renderRows(rows) {
    render(byId("deliveries"), rows.length ? rows.map(deliveryRow)
      : el("li", { class: "empty" }, statusFilter.value ? el("p", {}, "No deliveries match this filter. ", el("a", { href: "?" }, "Show all"), ".") : noDeliveries(id)));
    return rows.some((delivery) => delivery.status === "pending" && delivery.attempts.length === 0);
  },
});
bindFilters(filters, reload);
