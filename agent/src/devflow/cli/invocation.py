"""What all commands share: common options, settings, an API client, and output as text or JSON."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from devflow import settings
from devflow.agent_state import AgentState
from devflow.api_client import ApiClient, validate_url
from devflow.errors import NotLoggedInError
from devflow.redaction import add_secret, redact
from devflow.terminal import strip_controls

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])


class Invocation:
    """One run of the command line."""

    def __init__(self) -> None:
        self.config_path = Path()
        """The path of the config file, which may not exist."""
        self.config: dict[str, Any] = {}
        """The contents of the config file."""
        self.url = settings.DEFAULT_URL
        self.json = False

    def token(self) -> str:
        """Return the user's token: `DEVFLOW_TOKEN`, or the token of the last login.

        A token from the config file is only sent to the platform that issued it. A token from the environment is sent
        to any platform that the command is directed to. Raises NotLoggedInError if there is no token.
        """
        token: str | None = os.environ.get("DEVFLOW_TOKEN", "").strip()  # the variable may end with a line end
        if not token and self.config.get("url", settings.DEFAULT_URL).rstrip("/") == self.url.rstrip("/"):
            token = self.config.get("token")
        if not token:
            raise NotLoggedInError(f"Not logged in to {self.url}. Try: devflow login --url {self.url}")
        add_secret(token)
        return token

    def client(self) -> ApiClient:
        """Return a client with the user's token. Raises NotLoggedInError."""
        return ApiClient(self.url, self.token())

    def print_result(self, data: Any, text: str | Callable[[], None]) -> None:
        """Print the result on standard output: `data` with `--json`, or else `text`, or what `text()` prints."""
        if self.json:
            self.print_json(data)
        elif callable(text):
            text()
        else:
            click.echo(strip_controls(text))

    def print_json(self, data: Any) -> None:
        """Print one line of JSON on standard output."""
        click.echo(json.dumps(data, ensure_ascii=False))

    def print_note(self, text: str) -> None:
        """Print information for a person on standard error."""
        click.echo(redact(strip_controls(text)), err=True)


pass_invocation = click.make_pass_decorator(Invocation)


def setting_option(flag: str, *names: str, **arguments: Any) -> Callable[[CommandFunction], CommandFunction]:
    """Add an option that can also be set by a variable: `DEVFLOW_ALLOW_REPO` for `--allow-repo`."""
    return click.option(flag, *names, envvar=f"DEVFLOW_{flag[2:].replace('-', '_').upper()}", **arguments)


def json_option(command: CommandFunction) -> CommandFunction:
    """Add the option that every command has."""
    return click.option("--json", is_flag=True, expose_value=False, callback=_store_option("json"), help="Print JSON.")(
        command
    )


def platform_options(command: CommandFunction) -> CommandFunction:
    """Add the options of every command that sends requests to the platform as the user."""
    url_option = setting_option(
        "--url", default=settings.DEFAULT_URL, show_default=True, metavar="ADDRESS",
        expose_value=False, callback=_store_option("url", validate_url), help="The URL of the platform.",
    )  # fmt: skip
    return url_option(json_option(command))


def _store_option(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    """Return a callback that stores the converted value of an option in the invocation."""
    return lambda context, _parameter, value: setattr(context.find_object(Invocation), name, convert(value))


def agent_name_option(command: CommandFunction) -> CommandFunction:
    """Add the option that selects an agent of this machine."""
    return click.option(
        "--name", "agent_id", envvar="DEVFLOW_AGENT", default=AgentState.default_name, metavar="NAME",
        help="The name of the agent. [default: the name of this machine]",
    )(command)  # fmt: skip


def is_interactive() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()
