/** One webhook: what was delivered with every attempt, sending again, a test; changing and removing it. */

import { page, patch, post, remove } from "./api.js";
import { at, el, marked, plain, said, show } from "./dom.js";
import { noDeliveries } from "./empty.js";
import { EVENTS, offerEvents } from "./events.js";
import { chosen, filtering } from "./forms.js";
import { keepListing } from "./listing.js";
import { facts, told, webhookBadge } from "./parts.js";
import { ask, doing, entitle, say, showOnce, shown, whoAmI } from "./shell.js";
import { precisely, when } from "./time.js";

const { id, path, load } = shown("webhook");
const NAMES = { pending: "Pending", delivered: "Delivered", failed: "Failed" };
const CLASSES = { pending: "queued", delivered: "completed", failed: "failed" };

function draw(webhook) {
  entitle(webhook.url);
  show(at("title"), said(webhook.url));
  show(at("actions"),
    webhook.enabled ? el("button", { type: "button", class: "primary", onclick: (event) => test(event.currentTarget) }, "Send a test") : null,
    el("button", { type: "button", onclick: (event) => change(event.currentTarget, { enabled: !webhook.enabled }, webhook.enabled ? "Disabled." : "Enabled.") },
      webhook.enabled ? "Disable" : "Enable"));
  show(at("now"),
    el("div", { class: "line" }, webhookBadge(webhook), el("span", { class: "facts" },
      webhook.failingSince ? el("span", {}, "since ", when(webhook.failingSince)) : null,
      el("span", {}, "is told ", told(webhook)))),
    webhook.description ? el("p", { class: "step" }, said(webhook.description)) : null,
    webhook.disabledReason ? el("p", { class: "step bad" }, said(webhook.disabledReason)) : null);
  show(at("about"), facts(
    ["Id", el("code", {}, webhook.id)],
    webhook.oldSecretsUntil && ["Old secret signs until", ...[precisely(webhook.oldSecretsUntil)].flat()],
    ["Added", ...[precisely(webhook.createdAt)].flat()],
    ["Changed", ...[precisely(webhook.updatedAt)].flat()]));
  show(at("care"),
    el("button", { type: "button", onclick: (event) => edit(event.currentTarget, webhook) }, "Change"),
    el("button", { type: "button", onclick: (event) => rotate(event.currentTarget) }, "Replace its secret"),
    el("button", { type: "button", class: "danger", onclick: (event) => away(event.currentTarget, webhook) }, "Remove"));
}

function row(delivery) {
  return el("li", { class: "item", "data-key": delivery.id },
    el("div", { class: "line" },
      el("strong", {}, said(delivery.event)),
      el("span", { class: `status ${CLASSES[delivery.status]}` }, NAMES[delivery.status] ?? delivery.status)),
    delivery.error ? el("p", { class: "step bad" }, said(delivery.error)) : null,
    el("p", { class: "facts" },
      el("span", {}, when(delivery.createdAt)),
      el("span", {}, `${delivery.attempts.length} ${delivery.attempts.length === 1 ? "attempt" : "attempts"}`),
      delivery.nextAttemptAt ? el("span", {}, "next ", when(delivery.nextAttemptAt)) : null,
      el("code", {}, delivery.id)),
    el("details", {},
      el("summary", {}, "Attempts and payload"),
      el("div", { class: "stack" },
        delivery.attempts.length ? el("ol", { class: "timeline" }, delivery.attempts.map(attempt)) : el("p", {}, "Not tried yet."),
        el("h3", {}, "Payload"),
        el("pre", { class: "log short", tabindex: "0", "aria-label": "Payload" }, marked(JSON.stringify(delivery.payload, null, 2))),
        el("div", { class: "row" }, el("button", { type: "button", class: "small", onclick: (event) => again(event.currentTarget, delivery) }, "Deliver again")))));
}

const attempt = (tried) =>
  el("li", { class: `event ${tried.status >= 200 && tried.status < 300 ? "completed" : "failed"}` },
    el("div", { class: "line" },
      el("span", {}, el("strong", {}, tried.status === null ? "No answer" : String(tried.status)), ` after ${tried.latencyMs.toLocaleString()} ms`,
        tried.error ? [" – ", said(tried.error)] : null),
      when(tried.timestamp)),
    tried.answer ? el("pre", { class: "log short", tabindex: "0", "aria-label": "What it answered" }, marked(tried.answer)) : null);

const test = (button) => doing(button, async () => {
  await post(`${path}/test`);
  say("A test is on its way.");
  await anew();
});

const again = (button, delivery) => doing(button, async () => {
  await post(`${path}/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
  say("It is on its way again.");
  await anew();
});

const change = (button, what, told) => doing(button, async () => {
  await patch(path, what);
  say(told);
  await anew();
});

async function edit(button, webhook) {
  const url = el("input", { id: "url", type: "url", required: true, maxlength: "2048", value: webhook.url });
  const description = el("input", { id: "description", maxlength: "200", value: webhook.description ?? "" });
  const all = el("input", { type: "checkbox" });
  const box = el("div", { class: "checks" });
  const events = offerEvents(all, box, webhook.events.length ? webhook.events : EVENTS);
  const sure = await ask({
    title: "Change the webhook", yes: "Save", danger: false,
    fields: [
      el("label", { for: "url" }, "Address"), url,
      el("label", { for: "description" }, "Description"), description,
      el("fieldset", {}, el("legend", {}, "Tell it about"), el("label", { class: "inline" }, all, " everything"), box),
    ],
  });
  if (sure) await change(button, { url: url.value.trim(), description: description.value.trim(), events: events() }, "Saved.");
}

async function rotate(button) {
  const sure = await ask({
    title: "Replace its secret?",
    text: "For a day both secrets sign, so that your program can change over.",
    yes: "Replace the secret", danger: false,
  });
  if (!sure) return;
  const made = await doing(button, () => post(`${path}/rotate-secret`, {}, { headers: { "Idempotency-Key": crypto.randomUUID() } }));
  if (made) await showOnce("The new signing secret", "It is shown this once.", made.secret, "The webhook's new signing secret");
}

async function away(button, webhook) {
  const sure = await ask({ title: "Remove this webhook?", text: `${plain(webhook.url)} is told nothing more.`, yes: "Remove the webhook", no: "Keep it" });
  if (!sure) return;
  const gone = await doing(button, () => remove(path));
  if (gone) location.assign(page("webhooks"));
}

await whoAmI();
at("filters").status.value = new URLSearchParams(location.search).get("status") ?? "";
const anew = keepListing(`${path}/deliveries`, {
  query: () => chosen(at("filters")),
  more: at("more"),
  before: async () => draw(await load()),
  draw(rows) {
    show(at("deliveries"), rows.length ? rows.map(row)
      : el("li", { class: "empty" }, at("filters").status.value ? el("p", {}, "No delivery is like that. ", el("a", { href: "?" }, "Show all"), ".") : noDeliveries(id)));
    return rows.some((delivery) => delivery.status === "pending" && delivery.attempts.length === 0);
  },
});
filtering(at("filters"), anew);
