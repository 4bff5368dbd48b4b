/** All webhooks, and adding one. */

import { page, post } from "./api.js";
import { at, el, said, show } from "./dom.js";
import { noWebhooks } from "./empty.js";
import { offerEvents } from "./events.js";
import { sending } from "./forms.js";
import { keepListing } from "./listing.js";
import { told, total, webhookBadge } from "./parts.js";
import { showOnce, whoAmI } from "./shell.js";
import { when } from "./time.js";

const form = at("add");
const events = offerEvents(at("all"), at("events"));

const row = (webhook) =>
  el("li", { class: "item", "data-key": webhook.id },
    el("div", { class: "line" }, el("a", { class: "title", href: page("webhooks", webhook.id) }, said(webhook.url)), webhookBadge(webhook)),
    webhook.description ? el("p", { class: "step" }, said(webhook.description)) : null,
    webhook.disabledReason ? el("p", { class: "step bad" }, said(webhook.disabledReason)) : null,
    el("p", { class: "facts" },
      el("span", {}, told(webhook)),
      el("span", {}, "added ", when(webhook.createdAt))));

sending(form, async (headers) => {
  const body = { url: form.url.value.trim(), events: events() };
  if (form.description.value.trim()) body.description = form.description.value.trim();
  const made = await post("/api/webhooks", body, { headers });
  await showOnce("The signing secret", "It is shown this once. Your program checks the signature with it; the way is that of Standard Webhooks.", made.secret, "The webhook's signing secret");
  location.assign(page("webhooks", made.webhook.id));
});

await whoAmI();
keepListing("/api/webhooks", {
  more: at("more"),
  draw(rows, listing) {
    show(at("count"), total(listing));
    show(at("webhooks"), rows.length ? rows.map(row)
      : el("li", { class: "empty" }, noWebhooks()));
    return false;
  },
});
