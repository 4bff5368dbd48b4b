"""`devflow login` and `devflow logout`: store this user's token in the config file, and remove it."""

import os
import sys
from contextlib import suppress

import click

from devflow import settings
from devflow.api_client import ApiClient, Json
from devflow.cli.invocation import Invocation, pass_invocation, platform_options, setting_option
from devflow.errors import NotLoggedInError, RequestRejectedError, SettingsError, UnavailableError
from devflow.redaction import add_secret

_FORBIDDEN = 403


@click.command()
@setting_option("--email", help="Your email address. [default: ask for it]")
@click.option("--magic-link", is_flag=True, help="Log in with a link that is sent by email, instead of a PIN.")
@click.option("--token-stdin", is_flag=True, help="Log in with a token from standard input, instead of a PIN.")
@platform_options
@pass_invocation
def login(invocation: Invocation, email: str | None, magic_link: bool, token_stdin: bool) -> None:
    """Log in and store the token in the config file.

    There are three ways to log in. A PIN works on development stages only: it is read from DEVFLOW_PIN, or the command
    asks for it. A link is sent by email. A token is read from standard input.
    """
    url = invocation.url
    if token_stdin and magic_link:
        raise click.UsageError("--magic-link and --token-stdin exclude each other. Use one of them")
    if token_stdin:
        response = _log_in_with_token(url)
    else:
        log_in = _log_in_with_link if magic_link else _log_in_with_pin
        response = log_in(url, email or click.prompt("Email", err=True))
    token, user = str(response["token"]), dict(response["user"])
    add_secret(token)
    settings.update_config(invocation.config_path, url=url, token=token)
    result = {"success": True, "url": url, "user": user}
    invocation.print_result(result, f"Logged in to {url} as {user['name']} ({user['email']}).")


@click.command()
@platform_options
@pass_invocation
def logout(invocation: Invocation) -> None:
    """End the session and remove the token from the config file."""
    try:
        with suppress(NotLoggedInError):  # there is no token, or the platform does not accept it any more
            invocation.client().send_with_retries("POST", "/api/auth/logout")
    except (RequestRejectedError, UnavailableError) as error:
        invocation.print_note(f"The token was removed from this machine, but the platform may still accept it: {error}")
    settings.update_config(invocation.config_path, token=None)
    invocation.print_result({"success": True}, "Logged out.")


def _log_in_with_pin(url: str, email: str) -> Json:
    pin = os.environ.get("DEVFLOW_PIN") or click.prompt("PIN", hide_input=True, err=True)
    return ApiClient(url).send_with_retries("POST", "/api/auth/pin/login", {"email": email, "pin": pin})


def _log_in_with_link(url: str, email: str) -> Json:
    client = ApiClient(url)
    client.send_with_retries("POST", "/api/auth/magic-link", {"email": email})
    link = click.prompt("If this address may log in, a link was sent to it. Paste the link here", err=True)
    # The token is the fragment behind the `#`, which browsers do not send. The rest of the link is for browsers.
    token = link.strip().rpartition("#")[2]
    response = client.send_with_retries("POST", "/api/auth/magic-link/verify", {"token": token})
    owner = str(response["user"]["email"])
    if owner != email.strip().lower():
        add_secret(str(response["token"]))
        raise NotLoggedInError(
            f"This is a link of {owner}, and not of {email}. If somebody sent it to you, do not use it"
        )
    return response


def _log_in_with_token(url: str) -> Json:
    """Read a token from standard input and ask the platform for its user."""
    token = sys.stdin.readline().strip()
    if not token:
        raise SettingsError("There is no token on standard input")
    add_secret(token)
    try:
        return ApiClient(url, token).send_with_retries("GET", "/api/auth/me") | {"token": token}
    except RequestRejectedError as error:
        if error.status == _FORBIDDEN:
            raise NotLoggedInError("This is the token of an agent. Log in with the token of a user") from None
        raise
