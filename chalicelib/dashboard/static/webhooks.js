/** The list of webhooks, and the form that adds one. */

import { pageUrl, post } from "./api.js";
import { eventSummary, totalLabel, webhookBadge } from "./components.js";
import { openSecretDialog } from "./dialogs.js";
import { byId, el, isolate, render } from "./dom.js";
import { noWebhooks } from "./empty-states.js";
import { eventPicker } from "./event-picker.js";
import { field, handleSubmit } from "./forms.js";
import { pollList } from "./list.js";
import { requireUser } from "./session.js";
import { timeAgo } from "./time.js";

const form = byId("add", HTMLFormElement);
const chosenEvents = eventPicker(byId("all", HTMLInputElement), byId("events"));

/** @param {Api.Webhook} webhook */
const webhookRow = (webhook) =>
  el("li", { class: "item", "data-key": webhook.id },
    el("div", { class: "line" }, el("a", { class: "title", href: pageUrl("webhooks", webhook.id) }, isolate(webhook.url)), webhookBadge(webhook)),
    webhook.description ? el("p", { class: "step" }, isolate(webhook.description)) : null,
    webhook.disabledReason ? el("p", { class: "step bad" }, isolate(webhook.disabledReason)) : null,
    el("p", { class: "facts" },
      el("span", {}, eventSummary(webhook)),
      el("span", {}, "added ", timeAgo(webhook.createdAt))));

handleSubmit(form, async (headers) => {
  const description = field(form, "description").value.trim();
  const body = { url: field(form, "url").value.trim(), events: chosenEvents(), ...(description ? { description } : {}) };
  /** @type {Api.WebhookWithSecret} */
  const { webhook, secret } = await post("/api/webhooks", body, { headers });
  await openSecretDialog({
    title: "Signing secret",
    text: "Copy the secret now: it is displayed only once. Your program verifies signatures with it, as Standard Webhooks describes.",
    secret,
    label: "The webhook's signing secret",
  });
  location.assign(pageUrl("webhooks", webhook.id));
});

await requireUser();
pollList("/api/webhooks", {
  more: byId("more"),
  /** @type {(rows: Api.Webhook[], page: Api.Page<Api.Webhook>) => boolean} */
  renderRows(rows, page) {
    render(byId("count"), totalLabel(page));
    render(byId("webhooks"), rows.length ? rows.map(webhookRow) : el("li", { class: "empty" }, noWebhooks()));
    return false;
  },
});
