"""`devflow agent`: register, start, check, inspect, restrict and remove the agent of this machine."""

import dataclasses
import sys
import uuid
from collections.abc import Callable
from typing import Any

import click

from devflow import __version__, settings
from devflow.agent_state import AgentState, Registration
from devflow.api_client import ApiClient
from devflow.cli import output
from devflow.cli.doctor import doctor
from devflow.cli.invocation import Invocation, agent_name_option, pass_invocation, platform_options
from devflow.cli.registration_tokens import read_registration_token, registration_token
from devflow.cli.start import start
from devflow.clock import Clock
from devflow.credentials import Credentials
from devflow.errors import RequestRejectedError, SettingsError
from devflow.outbox import Outbox
from devflow.task_assignment import CAPABILITIES

_NOT_FOUND, _CONFLICT = 404, 409


def _rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that set the rules of the agent on the platform."""
    repos = click.option(
        "--repos", multiple=True, metavar="PATTERN",
        help="A rule on the platform: the agent gets only tasks of matching repositories, for example "
        "'https://github.com/acme/*'. Can be repeated. (The machine's own list is --allow-repo of `agent start`.)",
    )  # fmt: skip
    submitters = click.option(
        "--submitters", multiple=True, metavar="USER",
        help="A rule on the platform: the agent gets only tasks of the user with this id. Can be repeated.",
    )  # fmt: skip
    return repos(submitters(command))


@click.group()
def agent() -> None:
    """Register an agent on this machine and run it."""


@agent.command()
@agent_name_option
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="INTENT",
    help="An intent that the agent accepts. Can be repeated. [default: all four]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="The number of tasks that run at the same time.",
)
@click.option(
    "--replace", is_flag=True, help="Replace an agent with the same id. The tasks that it is running count as lost."
)
@click.option(
    "--registration-token-stdin",
    "from_stdin",
    is_flag=True,
    help="Register with a registration token from standard input. No login is needed.",
)
@_rule_options
@platform_options
@pass_invocation
def register(
    invocation: Invocation,
    agent_id: str,
    capabilities: tuple[str, ...],
    concurrency: int,
    replace: bool,
    from_stdin: bool,
    repos: tuple[str, ...],
    submitters: tuple[str, ...],
) -> None:
    """Register an agent and store its token on this machine.

    This needs a login, or a registration token from standard input or from DEVFLOW_REGISTRATION_TOKEN. A registration
    token is not stored, so the machine has the token of the agent only.
    """
    state = AgentState(settings.state_path(), agent_id)
    registration_token = read_registration_token(from_stdin)
    if registration_token is not None and replace:
        raise click.UsageError("A registration token cannot replace an agent. Log in to use --replace")
    body = {
        "agentId": agent_id, "name": agent_id, "version": __version__, "platform": sys.platform,
        "concurrency": concurrency, "replace": replace,
    } | _given_rules(repos, submitters)  # fmt: skip
    if capabilities or registration_token is None:  # otherwise the agent gets what the registration token permits
        body["capabilities"] = list(capabilities or CAPABILITIES)
    client = invocation.client() if registration_token is None else ApiClient(invocation.url, registration_token)
    try:
        response = client.send_with_retries("POST", "/api/agents", body, Idempotency_Key=str(uuid.uuid4()))
    except RequestRejectedError as error:
        if error.status != _CONFLICT or replace:
            raise
        message = "Use another --name, or log in and use --replace to register this agent again."
        raise dataclasses.replace(error, message=message) from None
    accepted = tuple(response["agent"].get("capabilities", capabilities or CAPABILITIES))
    state.save_registration(
        Registration(invocation.url, agent_id, response["token"], Clock().epoch_seconds(), concurrency, accepted)
    )
    result = {"success": True, "agent": response["agent"]}
    invocation.print_result(result, f"Registered {agent_id}. Start it with: devflow agent start --name {agent_id}")


agent.add_command(start)
agent.add_command(doctor)
agent.add_command(registration_token)


@agent.command()
@agent_name_option
@platform_options
@pass_invocation
def status(invocation: Invocation, agent_id: str) -> None:
    """Show the agent as the platform knows it, its process and its unsent results."""
    state = AgentState(settings.state_path(), agent_id)
    try:
        agent = invocation.client().send_with_retries("GET", f"/api/agents/{agent_id}")
    except RequestRejectedError as error:
        if error.status != _NOT_FOUND:
            raise
        agent = {"id": agent_id, "status": "not registered"}
    local = {
        "process": state.find_running_pid(),
        "resultsWaiting": len(Outbox(state.directory / "outbox").load_all()),
    }
    invocation.print_result(agent | {"local": local}, lambda: output.print_fields(agent | local))


@agent.command("set")
@agent_name_option
@_rule_options
@click.option("--any-repo", is_flag=True, help="Remove the rule about repositories.")
@click.option("--any-submitter", is_flag=True, help="Remove the rule about users.")
@platform_options
@pass_invocation
def set_rules(
    invocation: Invocation,
    agent_id: str,
    repos: tuple[str, ...],
    submitters: tuple[str, ...],
    any_repo: bool,
    any_submitter: bool,
) -> None:
    """Set the platform's rules about which tasks the agent gets. Lists replace the earlier ones.

    Running tasks continue. `devflow agent status` shows the rules.
    """
    if (repos and any_repo) or (submitters and any_submitter):
        raise SettingsError("--any-repo and --repos, or --any-submitter and --submitters, exclude each other")
    body: dict[str, Any] = _given_rules(repos, submitters)
    body |= ({"repos": None} if any_repo else {}) | ({"submitters": None} if any_submitter else {})
    if not body:
        raise SettingsError("Nothing to set. Use --repos, --any-repo, --submitters or --any-submitter")
    agent = invocation.client().send_with_retries("PATCH", f"/api/agents/{agent_id}", body)
    rules = {"repos": agent["repos"] or "all", "submitters": agent["submitters"] or "all"}
    invocation.print_result(agent, lambda: output.print_fields({"agent": agent["id"]} | rules))


def _given_rules(repos: tuple[str, ...], submitters: tuple[str, ...]) -> dict[str, list[str]]:
    rules = {"repos": list(repos), "submitters": list(submitters)}
    return {name: values for name, values in rules.items() if values}


@agent.command()
@agent_name_option
@click.option(
    "--revoke",
    is_flag=True,
    help="Requires a login. Without it, the agent's own token is used, and only the machine of the agent can do this.",
)
@platform_options
@pass_invocation
def rotate(invocation: Invocation, agent_id: str, revoke: bool) -> None:
    """Replace the agent's token. A running agent continues with the new one."""
    credentials = Credentials(AgentState(settings.state_path(), agent_id), Clock())
    agent_client = ApiClient(credentials.registration.url, credentials.token)
    if revoke:
        credentials.replace(invocation.client())
    else:
        credentials.renew(agent_client)
        agent_client.send("POST", f"/api/agents/{credentials.registration.agent_id}/heartbeat", {})  # the first use
        credentials.confirm()
    invocation.print_result({"success": True, "agentId": agent_id}, f"{agent_id} has a new token.")


@agent.command()
@agent_name_option
@click.confirmation_option(prompt="Remove this agent and its unsent results?")
@platform_options
@pass_invocation
def remove(invocation: Invocation, agent_id: str) -> None:
    """Remove the agent from the platform and from this machine."""
    state = AgentState(settings.state_path(), agent_id)
    with state.lock():
        try:
            response = invocation.client().send_with_retries("DELETE", f"/api/agents/{agent_id}")
        except RequestRejectedError as error:
            if error.status != _NOT_FOUND:
                raise
            response = {"success": True, "agentId": agent_id}
        state.delete()
    invocation.print_result(response, f"Removed {agent_id}.")
