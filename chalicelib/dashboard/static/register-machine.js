/** Registering a machine: a registration token, and the commands to run on the machine. */

import { withBusy } from "./actions.js";
import { post, root } from "./api.js";
import { copyBlock } from "./clipboard.js";
import { openDialog, openSecretDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { fullTime } from "./time.js";

const PLATFORM = root.href.replace(/\/$/, "");
const COMMANDS = `devflow agent register --url ${PLATFORM} --registration-token-stdin\ndevflow agent start --command 'claude -p --permission-mode bypassPermissions'`;
/** @type {[number, string][]} */
const TERMS = [[3_600, "1 hour"], [86_400, "1 day"], [7 * 86_400, "7 days"], [30 * 86_400, "30 days"]];

/**
 * Create a registration token, and display it once.
 * @param {HTMLElement} button
 */
async function registerMachine(button) {
  const uses = el("input", { id: "uses", type: "number", min: 1, max: 1000, value: 1, required: true });
  const term = el("select", { id: "term" }, TERMS.map(([seconds, label]) => el("option", { value: seconds }, label)));
  const isConfirmed = await openDialog({
    title: "Register a machine",
    text: "A registration token lets a machine register an agent of yours, without your own token. It can do nothing else.",
    confirm: "Create the token",
    danger: false,
    fields: [el("label", { for: "uses" }, "Number of agents"), uses, el("label", { for: "term" }, "Valid for"), term],
  });
  if (!isConfirmed) return;
  const body = { uses: uses.valueAsNumber, expiresInSeconds: Number(term.value) };
  /** @type {Api.NewRegistrationToken | undefined} */
  const created = await withBusy(button, () =>
    post("/api/agents/registration-tokens", body, { headers: { "Idempotency-Key": crypto.randomUUID() } }));
  if (!created) return;
  await openSecretDialog({
    title: "Registration token",
    text: "Copy the token now: it is displayed only once. Then run the commands on the machine. The first one reads the token.",
    secret: created.token,
    label: "The registration token",
    more: [copyBlock(COMMANDS, "Commands for the machine"), el("p", { class: "hint" }, "It is valid until ", ...fullTime(created.registrationToken.expiresAt), ".")],
  });
}

export const registerMachineButton = () =>
  el("button", { type: "button", onclick: (event) => registerMachine(event.currentTarget) }, "Register a machine");
