"""`devflow agent`: register this machine, run its agent, look after both."""

import dataclasses
import sys
import uuid

import click

from devflow import __version__, settings
from devflow.cli import output
from devflow.cli.invocation import Invocation, platform_options, agent_name_option, pass_invocation
from devflow.cli.start import start
from devflow.api_client import ApiClient
from devflow.clock import Clock
from devflow.task_assignment import CAPABILITIES
from devflow.credentials import Credentials
from devflow.errors import RequestRejectedError
from devflow.agent_state import AgentState, Registration
from devflow.outbox import Outbox

_NOT_FOUND, _CONFLICT = 404, 409


@click.group()
def agent() -> None:
    """Register an agent on this machine, and run it."""


@agent.command()
@agent_name_option
@click.option(
    "--capability", "capabilities", multiple=True, metavar="INTENT", help="May come often. [default: all four]"
)
@click.option("--concurrency", type=click.IntRange(1, 20), default=1, show_default=True, help="Tasks at a time.")
@click.option("--replace", is_flag=True, help="Take over an id that is taken; what ran under it counts as lost.")
@platform_options
@pass_invocation
def register(
    invocation: Invocation,
    agent: str,
    capabilities: tuple[str, ...],
    concurrency: int,
    replace: bool,
) -> None:
    """Register an agent, and keep its token on this machine."""
    home = AgentState(settings.state_path(), agent)
    about = {
        "agentId": agent, "name": agent, "version": __version__, "platform": sys.platform,
        "capabilities": list(capabilities or CAPABILITIES), "concurrency": concurrency, "replace": replace,
    }  # fmt: skip
    try:
        answer = invocation.client().send_with_retries("POST", "/api/agents", about, Idempotency_Key=str(uuid.uuid4()))
    except RequestRejectedError as error:
        if error.status != _CONFLICT or replace:
            raise
        told = "Try another --name, or --replace to register this one anew."
        raise dataclasses.replace(error, message=told) from None
    takes = capabilities or CAPABILITIES
    home.save_registration(Registration(invocation.url, agent, answer["token"], Clock().epoch_seconds(), concurrency, takes))
    shown = {"success": True, "agent": answer["agent"]}
    invocation.print_result(shown, f"Registered {agent}. Start it with: devflow agent start --name {agent}")


agent.add_command(start)


@agent.command()
@agent_name_option
@platform_options
@pass_invocation
def status(invocation: Invocation, agent: str) -> None:
    """Show the agent: what the platform knows of it, and what is on this machine."""
    home = AgentState(settings.state_path(), agent)
    try:
        shown = invocation.client().send_with_retries("GET", f"/api/agents/{agent}")
    except RequestRejectedError as error:
        if error.status != _NOT_FOUND:
            raise
        shown = {"id": agent, "status": "not registered"}
    here = {"process": home.find_running_pid(), "resultsWaiting": len(Outbox(home.directory / "outbox").load_all())}
    invocation.print_result(shown | {"local": here}, lambda: output.print_fields(shown | here))


@agent.command()
@agent_name_option
@click.option(
    "--revoke", is_flag=True, help="The old token dies at once; wants a login. Else at the new one's first use."
)
@platform_options
@pass_invocation
def rotate(invocation: Invocation, agent: str, revoke: bool) -> None:
    """Give the agent a new token. One that runs here goes on with it."""
    home, clock = AgentState(settings.state_path(), agent), Clock()
    credentials = Credentials(home, clock)
    own = ApiClient(credentials.registration.url, credentials.token)
    credentials.renew(invocation.client() if revoke else own)
    invocation.print_result({"success": True, "agentId": agent}, f"{agent} has a new token.")


@agent.command()
@agent_name_option
@click.confirmation_option(prompt="Remove this agent, with results of it that wait here?")
@platform_options
@pass_invocation
def remove(invocation: Invocation, agent: str) -> None:
    """Remove the agent from the platform and from this machine."""
    home = AgentState(settings.state_path(), agent)
    with home.lock():
        try:
            answer = invocation.client().send_with_retries("DELETE", f"/api/agents/{agent}")
        except RequestRejectedError as error:
            if error.status != _NOT_FOUND:
                raise
            answer = {"success": True, "agentId": agent}
        home.delete()
    invocation.print_result(answer, f"Removed {agent}.")
