"""`devflow login` and `logout`: how this user's token comes into the config file, and out of it."""

import os
import sys

import click

from devflow import settings
from devflow.cli.context import Invocation, common, pass_invocation
from devflow.client import Client, Json, checked_url
from devflow.errors import NotLoggedInError, RefusedError, SettingsError
from devflow.redact import hide

_FORBIDDEN = 403


@click.command()
@click.option("--email", envvar="DEVFLOW_EMAIL", help="Whose PIN it is; asked for when left out.")
@click.option("--token-stdin", is_flag=True, help="Take a token from standard input instead of asking for a PIN.")
@common
@pass_invocation
def login(invocation: Invocation, email: str | None, token_stdin: bool) -> None:
    """Log in, and keep the token in the config file.

    With a PIN (development stages), which is asked for or taken from DEVFLOW_PIN; or with a token from standard input.
    """
    url = checked_url(invocation.url)
    if token_stdin:
        token, user = _given(url), {}
    else:
        answer = _by_pin(url, email or click.prompt("Email", err=True))
        token, user = str(answer["token"]), dict(answer["user"])
    hide(token)
    settings.change(invocation.config, url=url, token=token)
    who = f" as {user['name']} ({user['email']})" if user else ""
    invocation.show({"success": True, "url": url, "user": user or None}, f"Logged in to {url}{who}.")


@click.command()
@common
@pass_invocation
def logout(invocation: Invocation) -> None:
    """Forget the token of the last login."""
    settings.change(invocation.config, token=None)
    invocation.show({"success": True}, "Logged out.")


def _by_pin(url: str, email: str) -> Json:
    pin = os.environ.get("DEVFLOW_PIN") or click.prompt("PIN", hide_input=True, err=True)
    return Client(url).ask("POST", "/api/auth/pin/login", {"email": email, "pin": pin})


def _given(url: str) -> str:
    """A token from standard input, once the platform has accepted it as a user's."""
    token = sys.stdin.readline().strip()
    if not token:
        raise SettingsError("There is no token on standard input")
    hide(token)
    try:
        Client(url, token).ask("GET", "/api/agents?limit=1")
    except RefusedError as error:
        if error.status == _FORBIDDEN:
            raise NotLoggedInError("This is an agent's token; a user's is needed to log in") from None
        raise
    return token
