/** What to do where there is nothing yet: the very commands. */

import { page, root } from "./api.js";
import { el } from "./dom.js";
import { copyable } from "./shell.js";

const here = root.href.replace(/\/$/, "");

/** Commands that register an agent and let it work. */
export const agentCommand = `export DEVFLOW_TOKEN=...   # a personal token, from your account page
python3 examples/agent.py --url ${here} --agent-id my-agent`;

const taskCommand = `curl ${here}/api/tasks -H "Authorization: Bearer $DEVFLOW_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{"intent": "fix-bug", "repo": "https://github.com/user/repo", "naturalLanguage": "Fix the login"}'`;

export const howToAdd = () => [
  el("p", {}, "An agent runs on your own machine, where the code is. Make a token on ",
    el("a", { href: page("account") }, "your account page"), ", and start one there:"),
  copyable(agentCommand, "the commands that start an agent"),
];

export const noAgents = () => [el("p", {}, el("strong", {}, "No agent is registered yet.")), ...howToAdd()];

export const noTasks = () => [
  el("p", {}, el("strong", {}, "There are no tasks yet. "), el("a", { href: page("new") }, "Submit the first one"), ", or from a shell:"),
  copyable(taskCommand, "the command that submits a task"),
];
