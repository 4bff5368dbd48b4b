"""`devflow login` and `logout`: how this user's token comes into the config file, and out of it."""

import os
import sys
from contextlib import suppress

import click

from devflow import settings
from devflow.cli.invocation import Invocation, platform_options, pass_invocation, setting_option
from devflow.api_client import ApiClient, Json
from devflow.errors import NotLoggedInError, RequestRejectedError, SettingsError, UnavailableError
from devflow.redaction import add_secret

_FORBIDDEN = 403


@click.command()
@setting_option("--email", help="Whose login it is; asked for when left out.")
@click.option("--magic-link", is_flag=True, help="By a link that is sent by mail, instead of a PIN.")
@click.option("--token-stdin", is_flag=True, help="By a token from standard input, instead of a PIN.")
@platform_options
@pass_invocation
def login(invocation: Invocation, email: str | None, magic_link: bool, token_stdin: bool) -> None:
    """Log in, and keep the token in the config file.

    With a PIN (development stages), which is asked for or taken from DEVFLOW_PIN; with a link that comes by mail; or
    with a token from standard input.
    """
    url = invocation.url
    if token_stdin and magic_link:
        raise click.UsageError("--magic-link and --token-stdin are two ways to log in; choose one")
    if token_stdin:
        answer = _log_in_with_token(url)
    else:
        by = _log_in_with_link if magic_link else _log_in_with_pin
        answer = by(url, email or click.prompt("Email", err=True))
    token, user = str(answer["token"]), dict(answer["user"])
    add_secret(token)
    settings.update_config(invocation.config_path, url=url, token=token)
    shown = {"success": True, "url": url, "user": user}
    invocation.print_result(shown, f"Logged in to {url} as {user['name']} ({user['email']}).")


@click.command()
@platform_options
@pass_invocation
def logout(invocation: Invocation) -> None:
    """End the login: its token is dead, and forgotten here."""
    try:
        with suppress(NotLoggedInError):  # there is none, or it is dead already
            invocation.client().send_with_retries("POST", "/api/auth/logout")
    except (RequestRejectedError, UnavailableError) as error:
        invocation.print_note(f"The token is forgotten here, but it may go on living: {error}")
    settings.update_config(invocation.config_path, token=None)
    invocation.print_result({"success": True}, "Logged out.")


def _log_in_with_pin(url: str, email: str) -> Json:
    pin = os.environ.get("DEVFLOW_PIN") or click.prompt("PIN", hide_input=True, err=True)
    return ApiClient(url).send_with_retries("POST", "/api/auth/pin/login", {"email": email, "pin": pin})


def _log_in_with_link(url: str, email: str) -> Json:
    client = ApiClient(url)
    client.send_with_retries("POST", "/api/auth/magic-link", {"email": email})
    link = click.prompt("If this address may log in, a mail is on its way. Paste its link here", err=True)
    # What stands behind the `#` never gets to a server by a click; the rest of the link is for browsers.
    return client.send_with_retries("POST", "/api/auth/magic-link/verify", {"token": link.strip().rpartition("#")[2]})


def _log_in_with_token(url: str) -> Json:
    """A token from standard input, once the platform has said whose it is."""
    token = sys.stdin.readline().strip()
    if not token:
        raise SettingsError("There is no token on standard input")
    add_secret(token)
    try:
        return ApiClient(url, token).send_with_retries("GET", "/api/auth/me") | {"token": token}
    except RequestRejectedError as error:
        if error.status == _FORBIDDEN:
            raise NotLoggedInError("This is an agent's token; a user's is needed to log in") from None
        raise
