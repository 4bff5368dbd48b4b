"""`devflow agent registration-token`: tokens with which other machines register agents of the user."""

import os
import shlex
import sys
import uuid

import click

from devflow.api_client import Json, drop_none
from devflow.cli import output
from devflow.cli.ids import check_id
from devflow.cli.invocation import Invocation, pass_invocation, platform_options
from devflow.errors import SettingsError
from devflow.redaction import add_secret

VARIABLE = "DEVFLOW_REGISTRATION_TOKEN"
_PATH = "/api/agents/registration-tokens"
_COLUMNS = {
    "id": "Token", "used": "Used", "uses": "Uses", "expiresAt": "Expires", "capabilities": "Capabilities",
    "repos": "Repositories", "createdAt": "Created",
}  # fmt: skip
_MAX_MINUTES = 30 * 24 * 60


def read_registration_token(from_stdin: bool) -> str | None:
    """Return the registration token on standard input, or else that of the environment. None if there is none.

    Raises SettingsError if there is nothing on standard input.
    """
    token = (sys.stdin.readline() if from_stdin else os.environ.get(VARIABLE, "")).strip()
    if not token and from_stdin:
        raise SettingsError("There is no registration token on standard input")
    if not token:
        return None
    add_secret(token)
    return token


@click.group("registration-token")
def registration_token() -> None:
    """Create and remove tokens with which other machines register agents of yours."""


@registration_token.command()
@click.option(
    "--uses", type=click.IntRange(1, 1_000), default=1, show_default=True, help="The number of agents to register."
)
@click.option(
    "--minutes", type=click.IntRange(1, _MAX_MINUTES), default=60, show_default=True, help="How long it is valid."
)
@click.option(
    "--capability", "capabilities", multiple=True, metavar="INTENT",
    help="An intent that the agents may accept. Can be repeated. [default: any]",
)  # fmt: skip
@click.option(
    "--repos", multiple=True, metavar="PATTERN",
    help="A pattern of repositories that the agents may work on. Can be repeated. [default: any]",
)  # fmt: skip
@platform_options
@pass_invocation
def create(
    invocation: Invocation, uses: int, minutes: int, capabilities: tuple[str, ...], repos: tuple[str, ...]
) -> None:
    """Create a registration token. It is printed only once."""
    body = drop_none({
        "uses": uses, "expiresInSeconds": minutes * 60, "capabilities": list(capabilities) or None,
        "repos": list(repos) or None,
    })  # fmt: skip
    response = invocation.client().send_with_retries("POST", _PATH, body, Idempotency_Key=str(uuid.uuid4()))
    invocation.print_result(response, _describe(response, invocation.url))


def _describe(response: Json, url: str) -> str:
    token = response["registrationToken"]
    agents = "one agent" if token["uses"] == 1 else f"{token['uses']} agents"
    return (
        f"Registers {agents} until {token['expiresAt']}. On each machine, run this command, and paste the token, which"
        f" is printed only once:\n\n  devflow agent register --url {shlex.quote(url)} --registration-token-stdin\n\n"
        f"{response['token']}"
    )


@registration_token.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="The number of tokens.")
@platform_options
@pass_invocation
def list_tokens(invocation: Invocation, limit: int) -> None:
    """List registration tokens that have not expired, newest first."""
    page = invocation.client().send_with_retries("GET", f"{_PATH}?limit={limit}")
    invocation.print_result(page, lambda: output.print_table(_COLUMNS, page["data"]))


@registration_token.command()
@click.argument("token_id", metavar="TOKEN")
@platform_options
@pass_invocation
def remove(invocation: Invocation, token_id: str) -> None:
    """Remove a registration token. TOKEN is its id. The agents that it has registered stay."""
    path = f"{_PATH}/{check_id(token_id, 'id of a registration token')}"
    invocation.print_result(invocation.client().send_with_retries("DELETE", path), f"Removed {token_id}.")
