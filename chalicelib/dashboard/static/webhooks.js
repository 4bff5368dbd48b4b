/** All webhooks, and adding one. */

import { page, post } from "./api.js";
import { at, el, said, show } from "./dom.js";
import { offerEvents } from "./events.js";
import { keepListing } from "./listing.js";
import { total } from "./parts.js";
import { showOnce, whoAmI } from "./shell.js";
import { when } from "./time.js";

const form = at("add");
const events = offerEvents(at("all"), at("events"));

const webhookState = (webhook) =>
  el("span", { class: `status ${!webhook.enabled ? "cancelled" : webhook.failingSince ? "failed" : "completed"}` },
    !webhook.enabled ? "Disabled" : webhook.failingSince ? "Failing" : "Enabled");

const row = (webhook) =>
  el("li", { class: "item", "data-key": webhook.id },
    el("div", { class: "line" }, el("a", { class: "title", href: page("webhooks", webhook.id) }, said(webhook.url)), webhookState(webhook)),
    webhook.description ? el("p", { class: "step" }, said(webhook.description)) : null,
    webhook.disabledReason ? el("p", { class: "step bad" }, said(webhook.disabledReason)) : null,
    el("p", { class: "facts" },
      el("span", {}, webhook.events.includes("*") ? "everything" : webhook.events.join(", ")),
      el("span", {}, "added ", when(webhook.createdAt))));

await whoAmI();
const anew = keepListing("/api/webhooks", {
  more: at("more"),
  draw(rows, listing) {
    show(at("count"), total(listing));
    show(at("webhooks"), rows.length ? rows.map(row)
      : el("li", { class: "empty" }, el("p", {}, el("strong", {}, "There are no webhooks yet."), " Add the first one below: an address of yours that takes a POST, and that is told when a task starts, completes or fails.")));
    return false;
  },
});

let key = crypto.randomUUID();
form.oninput = () => {
  key = crypto.randomUUID();
};
form.onsubmit = async (event) => {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  at("problem").hidden = true;
  const body = { url: form.url.value.trim(), events: events() };
  if (form.description.value.trim()) body.description = form.description.value.trim();
  try {
    const made = await post("/api/webhooks", body, { headers: { "Idempotency-Key": key } });
    form.reset();
    form.dispatchEvent(new Event("change", { bubbles: true }));
    key = crypto.randomUUID();
    await showOnce("The signing secret", "It is shown this once. Your program checks the signature with it; the way is that of Standard Webhooks.", made.secret, "the webhook's signing secret");
    location.assign(page("webhooks", made.webhook.id));
  } catch (error) {
    show(at("problem"), el("span", {}, error.message), ...(error.details ?? []).map((one) => el("div", {}, said(one))));
    at("problem").hidden = false;
    await anew();
  } finally {
    button.removeAttribute("aria-busy");
  }
};
