/** What to do where a list is empty: commands of the `devflow` command line (docs/agent.md), ready to copy. */

import { pageUrl, root } from "./api.js";
import { copyBlock } from "./clipboard.js";
import { el } from "./dom.js";

const platformUrl = root.href.replace(/\/$/, "");
const loginMethods = document.documentElement.dataset.logins?.split(" ") ?? [];

/** The login command with the option for a method that this stage has; a PIN needs no option. */
const loginOption = loginMethods.includes("pin") ? "" : loginMethods.includes("mail") ? " --magic-link" : " --token-stdin";
const LOGIN = `devflow login --url ${platformUrl}${loginOption}`;

/** @param {string} text */
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const EXAMPLE = shellQuoted("Fix the null pointer in the login flow");
const START = "devflow agent start --command 'claude -p --permission-mode bypassPermissions'";
const REGISTER = `${LOGIN}\ndevflow agent register\n${START}`;
const SUBMIT = `${LOGIN}\ndevflow run ${EXAMPLE} --repo . --intent fix-bug`;
const ADD_WEBHOOK = `${LOGIN}\ndevflow webhooks add https://example.com/devflow --event task.completed --event task.failed`;

export const howToLogIn = () => [
  el("p", {}, "A personal token lets a program act as you. The devflow command line obtains its own token:"),
  copyBlock(LOGIN, "Log in from a shell"),
];

export const howToAddAgent = () => [
  el("p", {}, "An agent runs on your own machine, next to your code, and starts the coding tool of your choice:"),
  copyBlock(REGISTER, "Start an agent"),
  el("p", { class: "hint" }, "Install ", el("code", {}, "devflow"), " from this platform's repository: ", el("code", {}, "pip install ./agent"), "."),
];

export const noAgents = () => [el("p", {}, el("strong", {}, "No agents are registered yet.")), ...howToAddAgent()];

export const noTasks = () => [
  el("p", {}, el("strong", {}, "There are no tasks yet. "), el("a", { href: pageUrl("new") }, "Submit the first task"), ", or run this in a clone of the repository:"),
  copyBlock(SUBMIT, "Submit a task"),
];

export const noWebhooks = () => [
  el("p", {}, el("strong", {}, "There are no webhooks yet."), " Add the first one below. Its URL must accept POST requests. Or add it from a shell:"),
  copyBlock(ADD_WEBHOOK, "Add a webhook"),
];

/** @param {string} webhookId */
export const noDeliveries = (webhookId) => [
  el("p", {}, el("strong", {}, "There are no deliveries yet."), " Send a test event to check that it arrives. Or send it from a shell:"),
  copyBlock(`devflow webhooks test ${webhookId}`, "Send a test event"),
];

/**
 * For an agent that has had no task.
 * @param {Api.Agent} agent
 */
export const noTasksOfAgent = (agent) => [
  el("p", {}, el("strong", {}, "This agent has had no tasks yet. "), el("a", { href: pageUrl("new") }, "Submit a task"), ", or run this in a clone of the repository:"),
  copyBlock(`devflow run ${EXAMPLE} --repo . --intent ${agent.capabilities[0] ?? "fix-bug"} --agent ${agent.id}`, "Submit a task for this agent"),
];

/**
 * For an agent that is offline.
 * @param {Api.Agent} agent
 */
export const howToRestart = (agent) => [
  el("p", { class: "step" }, "This agent is offline. Start it on its machine:"),
  copyBlock(`${START} --name ${agent.id}`, "Start this agent"),
];

/**
 * For a new token of an agent that the `devflow` command line runs, which stores its token itself.
 * @param {Api.Agent} agent
 */
export const howToRotateToken = (agent) => [
  el("p", { class: "hint" }, "An agent of the ", el("code", {}, "devflow"), " command line stores its own token. To give it a new one, run this on its machine:"),
  copyBlock(`devflow agent rotate --revoke --name ${agent.id}`, "Rotate the token on its machine"),
];
