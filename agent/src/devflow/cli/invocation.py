"""What every command shares: settings, a client, and how it speaks: to a person, or in JSON."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from devflow import settings
from devflow.api_client import ApiClient, validate_url
from devflow.errors import NotLoggedInError
from devflow.agent_state import AgentState
from devflow.redaction import add_secret, redact
from devflow.terminal import strip_controls

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])


class Invocation:
    """One run of the command line."""

    def __init__(self) -> None:
        self.config_path = Path()
        """The path of the config file, which may not be there."""
        self.config: dict[str, Any] = {}
        """What it says."""
        self.url = settings.DEFAULT_URL
        self.json = False

    def token(self) -> str:
        """The user's token: `DEVFLOW_TOKEN`, or that of the last login.

        Raises NotLoggedInError where there is none.

        A token from the config file goes to the platform that gave it and to no other; one from the environment to
        whichever is asked for.
        """
        token: str | None = os.environ.get("DEVFLOW_TOKEN", "").strip()  # perhaps with an end of line
        if not token and self.config.get("url", settings.DEFAULT_URL).rstrip("/") == self.url.rstrip("/"):
            token = self.config.get("token")
        if not token:
            raise NotLoggedInError(f"Not logged in to {self.url}. Try: devflow login --url {self.url}")
        add_secret(token)
        return token

    def client(self) -> ApiClient:
        """A client with the user's token. Raises NotLoggedInError."""
        return ApiClient(self.url, self.token())

    def print_result(self, data: Any, text: str | Callable[[], None]) -> None:
        """The result on standard output: `data` as JSON with `--json`, else the text, or what the function prints."""
        if self.json:
            self.print_json(data)
        elif callable(text):
            text()
        else:
            click.echo(strip_controls(text))

    def print_json(self, data: Any) -> None:
        """One line of JSON on standard output."""
        click.echo(json.dumps(data, ensure_ascii=False))

    def print_note(self, text: str) -> None:
        """What a person should know on the way, on standard error."""
        click.echo(redact(strip_controls(text)), err=True)


pass_invocation = click.make_pass_decorator(Invocation)


def setting_option(flag: str, *names: str, **about: Any) -> Callable[[CommandFunction], CommandFunction]:
    """An option that may also stand in the environment: `--allow-repo` is `DEVFLOW_ALLOW_REPO`."""
    return click.option(flag, *names, envvar=f"DEVFLOW_{flag[2:].replace('-', '_').upper()}", **about)


def json_option(command: CommandFunction) -> CommandFunction:
    """The option that every command has."""
    return click.option("--json", is_flag=True, expose_value=False, callback=_store_option("json"), help="Answer in JSON.")(
        command
    )


def platform_options(command: CommandFunction) -> CommandFunction:
    """The options of every command that calls the platform as its user."""
    address = setting_option(
        "--url", default=settings.DEFAULT_URL, show_default=True, metavar="ADDRESS",
        expose_value=False, callback=_store_option("url", validate_url), help="The platform.",
    )  # fmt: skip
    return address(json_option(command))


def _store_option(name: str, read: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    """A callback of an option: the invocation has its value, as `read` takes it."""
    return lambda context, _parameter, value: setattr(context.find_object(Invocation), name, read(value))


def agent_name_option(command: CommandFunction) -> CommandFunction:
    """The option that says which agent is meant."""
    return click.option(
        "--name", "agent", envvar="DEVFLOW_AGENT", default=AgentState.default_name, metavar="NAME",
        help="The agent; this machine's name when left out.",
    )(command)  # fmt: skip


def is_interactive() -> bool:
    """Whether a person looks at the output."""
    return sys.stdout.isatty()
