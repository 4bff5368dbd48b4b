/** What to do where there is nothing yet: the very commands, of the `devflow` command line (docs/agent.md). */

import { page, root } from "./api.js";
import { el } from "./dom.js";
import { copyable } from "./shell.js";

const here = root.href.replace(/\/$/, "");
const ways = document.documentElement.dataset.logins.split(" ");

/** By whatever way there is here: a PIN is asked for if nothing else is said. */
const login = `devflow login --url ${here}${ways.includes("pin") ? "" : ways.includes("mail") ? " --magic-link" : " --token-stdin"}`;

const text = (words) => `'${words.replaceAll("'", "'\\''")}'`;

const START = "devflow agent start --command 'claude -p'";
const ADD = `${login}\ndevflow agent register\n${START}`;
const SUBMIT = `${login}\ndevflow run ${text("Fix the null pointer in the login flow")} --repo . --intent fix-bug`;
const TELL = `${login}\ndevflow webhooks add https://example.com/devflow --event task.completed --event task.failed`;

export const howToLogIn = () => [
  el("p", {}, "A token of its own lets a program act as you. The command line gets one by itself:"),
  copyable(login, "Log in from a shell"),
];

export const howToAdd = () => [
  el("p", {}, "An agent runs on a machine of yours, where the code is, with whatever program is to do the work:"),
  copyable(ADD, "Start an agent"),
  el("p", { class: "hint" }, el("code", {}, "devflow"), " is in this platform's repository: ", el("code", {}, "pip install ./agent"), "."),
];

export const noAgents = () => [el("p", {}, el("strong", {}, "No agent is registered yet.")), ...howToAdd()];

export const noTasks = () => [
  el("p", {}, el("strong", {}, "There are no tasks yet. "), el("a", { href: page("new") }, "Submit the first one"), ", or do so in a clone of the repository:"),
  copyable(SUBMIT, "Submit a task"),
];

export const noWebhooks = () => [
  el("p", {}, el("strong", {}, "There are no webhooks yet."), " Add the first one below: an address of yours that takes a POST and is told when a task completes, say. Or from a shell:"),
  copyable(TELL, "Add a webhook"),
];

export const noDeliveries = (webhook) => [
  el("p", {}, el("strong", {}, "Nothing was delivered yet."), " Send a test, to see whether it arrives; or from a shell:"),
  copyable(`devflow webhooks test ${webhook}`, "The same from a shell"),
];

/** An agent that has had no task, and could have one. */
export const noTasksOf = (agent) => [
  el("p", {}, el("strong", {}, "It has had no task yet. "), el("a", { href: page("new") }, "Submit one"), ", or in a clone of the repository:"),
  copyable(`devflow run ${text("Fix the null pointer in the login flow")} --repo . --intent ${agent.capabilities[0] ?? "fix-bug"} --agent ${agent.id}`, "Submit a task for this agent"),
];

/** What brings an agent back that is not there. */
export const howToStart = (agent) => [
  el("p", { class: "step" }, "It is not there. On its machine:"),
  copyable(`${START} --name ${agent.id}`, "Start this agent again"),
];

/** Where an agent's new token goes: the command line's own agents fetch theirs. */
export const howToRenew = (agent) => [
  el("p", { class: "hint" }, "An agent of the ", el("code", {}, "devflow"), " command keeps its own. It gets one that works with this, on its machine:"),
  copyable(`devflow agent rotate --revoke --name ${agent.id}`, "Renew it on its machine"),
];
