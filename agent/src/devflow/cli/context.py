"""What every command shares: settings, a client, and how it speaks: to a person, or in JSON."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from devflow import settings
from devflow.client import Client, checked_url
from devflow.errors import NotLoggedInError
from devflow.home import Home
from devflow.redact import hide, redacted
from devflow.terminal import plain

Command = TypeVar("Command", bound=Callable[..., Any])


class Invocation:
    """One run of the command line."""

    def __init__(self) -> None:
        self.config = Path()
        """The path of the config file, which may not be there."""
        self.configured: dict[str, Any] = {}
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
        if not token and self.configured.get("url", settings.DEFAULT_URL).rstrip("/") == self.url.rstrip("/"):
            token = self.configured.get("token")
        if not token:
            raise NotLoggedInError(f"Not logged in to {self.url}. Try: devflow login --url {self.url}")
        hide(token)
        return token

    def client(self) -> Client:
        """A client with the user's token. Raises NotLoggedInError."""
        return Client(self.url, self.token())

    def show(self, data: Any, text: str | Callable[[], None]) -> None:
        """The result on standard output: `data` as JSON with `--json`, else the text, or what the function prints."""
        if self.json:
            self.line(data)
        elif callable(text):
            text()
        else:
            click.echo(plain(text))

    def line(self, data: Any) -> None:
        """One line of JSON on standard output."""
        click.echo(json.dumps(data, ensure_ascii=False))

    def note(self, text: str) -> None:
        """What a person should know on the way, on standard error."""
        click.echo(redacted(plain(text)), err=True)


pass_invocation = click.make_pass_decorator(Invocation)


def setting(flag: str, *names: str, **about: Any) -> Callable[[Command], Command]:
    """An option that may also stand in the environment: `--allow-repo` is `DEVFLOW_ALLOW_REPO`."""
    return click.option(flag, *names, envvar=f"DEVFLOW_{flag[2:].replace('-', '_').upper()}", **about)


def in_json(command: Command) -> Command:
    """The option that every command has."""
    return click.option("--json", is_flag=True, expose_value=False, callback=_keep("json"), help="Answer in JSON.")(
        command
    )


def common(command: Command) -> Command:
    """The options of every command that calls the platform as its user."""
    address = setting(
        "--url", default=settings.DEFAULT_URL, show_default=True, metavar="ADDRESS",
        expose_value=False, callback=_keep("url", checked_url), help="The platform.",
    )  # fmt: skip
    return address(in_json(command))


def _keep(name: str, read: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    """A callback of an option: the invocation has its value, as `read` takes it."""
    return lambda context, _parameter, value: setattr(context.find_object(Invocation), name, read(value))


def named(command: Command) -> Command:
    """The option that says which agent is meant."""
    return click.option(
        "--name", "agent", envvar="DEVFLOW_AGENT", default=Home.default_name, metavar="NAME",
        help="The agent; this machine's name when left out.",
    )(command)  # fmt: skip


def interactive() -> bool:
    """Whether a person looks at the output."""
    return sys.stdout.isatty()
