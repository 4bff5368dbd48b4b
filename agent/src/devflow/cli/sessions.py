"""`devflow sessions`: list the sessions of the user, and end them."""

import click

from devflow.cli import output
from devflow.cli.ids import check_id
from devflow.cli.invocation import Invocation, pass_invocation, platform_options

_COLUMNS = {
    "id": "Session", "createdAt": "Logged in", "lastSeenAt": "Last used", "expiresAt": "Expires", "address": "Address",
    "userAgent": "Program", "current": "This session",
}  # fmt: skip


@click.group()
def sessions() -> None:
    """List your sessions, and end them. A session lasts from a login to a logout."""


@sessions.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="The number of sessions.")
@platform_options
@pass_invocation
def list_sessions(invocation: Invocation, limit: int) -> None:
    """List sessions, newest first."""
    page = invocation.client().send_with_retries("GET", f"/api/auth/sessions?limit={limit}")
    invocation.print_result(page, lambda: output.print_table(_COLUMNS, page["data"]))


@sessions.command()
@click.argument("session_id", metavar="SESSION")
@platform_options
@pass_invocation
def end(invocation: Invocation, session_id: str) -> None:
    """End a session. Its user must log in again."""
    path = f"/api/auth/sessions/{check_id(session_id, 'session id')}"
    invocation.print_result(invocation.client().send_with_retries("DELETE", path), f"Ended {session_id}.")
