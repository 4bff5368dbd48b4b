/** Who is logged in; personal tokens; the PIN; logging out. */

import { post, remove } from "./api.js";
import { at, el, plain, said, show } from "./dom.js";
import { howToLogIn } from "./empty.js";
import { sending } from "./forms.js";
import { keepListing } from "./listing.js";
import { facts } from "./parts.js";
import { ask, doing, logOut, say, showOnce, whoAmI } from "./shell.js";
import { precisely, when } from "./time.js";

const me = await whoAmI();
show(at("about"), facts(
  ["Name", said(me.user.name)],
  ["Email", said(me.user.email)],
  ["Id", el("code", {}, me.user.id)],
  ["Logged in until", ...[precisely(me.expiresAt)].flat()]));

at("logout").onclick = (event) => doing(event.currentTarget, () => logOut());
at("logout-all").onclick = async (event) => {
  const button = event.currentTarget;
  const sure = await ask({
    title: "Log out everywhere?",
    text: "Every session of yours ends, and every personal token is revoked at once. Agents go on: their tokens are their own.",
    yes: "Log out everywhere",
  });
  if (sure) await doing(button, () => logOut(true));
};

const row = (token) =>
  el("li", { class: "item", "data-key": token.id },
    el("div", { class: "line" }, el("strong", { class: "title" }, said(token.name)),
      el("button", { type: "button", class: "small danger", "aria-label": `Revoke ${plain(token.name)}`, onclick: (event) => revoke(event.currentTarget, token) }, "Revoke")),
    el("p", { class: "facts" },
      el("span", {}, "made ", when(token.createdAt)),
      el("span", {}, "good until ", when(token.expiresAt)),
      el("span", {}, token.lastUsedAt ? ["used ", when(token.lastUsedAt)] : "never used")));

async function revoke(button, token) {
  const sure = await ask({ title: `Revoke “${plain(token.name)}”?`, text: "Whatever uses it stops working at once.", yes: "Revoke the token", no: "Keep it" });
  if (!sure) return;
  await doing(button, async () => {
    await remove(`/api/auth/tokens/${encodeURIComponent(token.id)}`);
    say("Revoked.");
  });
  await anew();
}

const anew = keepListing("/api/auth/tokens", {
  more: at("more"),
  draw(rows) {
    show(at("tokens"), rows.length ? rows.map(row) : el("li", { class: "empty" }, el("p", {}, el("strong", {}, "There are none yet."), " Make one below, and give it to a program as DEVFLOW_TOKEN."), howToLogIn()));
    return false;
  },
});

const make = at("make");
sending(make, async (headers) => {
  const { name, days } = make.elements;
  const made = await post("/api/auth/tokens", { name: name.value.trim(), expiresInDays: Number(days.value) }, { headers });
  make.reset();
  await showOnce("Your new token", "It is shown this once. It may do what you may, but for logins and tokens: keep it like a password.", made.token, "The new token");
  await anew();
});

const pin = at("pin");
pin.elements.email.value = me.user.email; // for whatever keeps passwords
sending(pin, async () => {
  await post("/api/auth/pin", { pin: pin.elements.pin.value });
  pin.elements.pin.value = "";
  say("The PIN is set.");
});
