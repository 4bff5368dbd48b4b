"""`devflow webhooks`: who is told what happens, and what became of it (docs/webhooks.md)."""

import uuid
from typing import Any
from urllib.parse import urlencode

import click

from devflow.cli import output
from devflow.cli.invocation import Invocation, platform_options, pass_invocation
from devflow.cli.ids import check_id, webhook_path
from devflow.api_client import Json, drop_none

_WEBHOOK_COLUMNS = {"id": "Webhook", "url": "Address", "events": "Events", "enabled": "Enabled", "description": "Description"}
_DELIVERY_COLUMNS = {
    "id": "Delivery", "event": "Event", "status": "Status", "attempts": "Tries", "createdAt": "Created",
    "error": "Error",
}  # fmt: skip


@click.group()
def webhooks() -> None:
    """Have other programs told what happens."""


@webhooks.command("list")
@platform_options
@pass_invocation
def list_webhooks(invocation: Invocation) -> None:
    """List webhooks."""
    found = invocation.client().send_with_retries("GET", "/api/webhooks?limit=100")
    invocation.print_result(found, lambda: output.print_table(_WEBHOOK_COLUMNS, found["data"]))


@webhooks.command()
@click.argument("address")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="May come often. [default: every event]")
@click.option("--description")
@platform_options
@pass_invocation
def add(invocation: Invocation, address: str, events: tuple[str, ...], description: str | None) -> None:
    """Have ADDRESS told. Its secret is shown this once."""
    body = {"url": address, "events": list(events) or None, "description": description}
    _print_secret(invocation, _post_with_key(invocation, "/api/webhooks", drop_none(body)))


@webhooks.command()
@click.argument("webhook")
@platform_options
@pass_invocation
def show(invocation: Invocation, webhook: str) -> None:
    """Show a webhook."""
    found = invocation.client().send_with_retries("GET", webhook_path(webhook))
    invocation.print_result(found, lambda: output.print_fields(found))


@webhooks.command()
@click.argument("webhook")
@click.option("--address", metavar="ADDRESS")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="Instead of all that were named before.")
@click.option("--description")
@click.option("--enable/--disable", "enabled", default=None)
@platform_options
@pass_invocation
def change(invocation: Invocation, /, webhook: str, address: str | None, events: tuple[str, ...], **more: Any) -> None:
    """Change a webhook; what is left out stays as it is."""
    asked = {"url": address, "events": list(events) or None} | more
    changed = invocation.client().send_with_retries("PATCH", webhook_path(webhook), drop_none(asked))
    invocation.print_result(changed, lambda: output.print_fields(changed))


@webhooks.command()
@click.argument("webhook")
@platform_options
@pass_invocation
def remove(invocation: Invocation, webhook: str) -> None:
    """Remove a webhook."""
    invocation.print_result(invocation.client().send_with_retries("DELETE", webhook_path(webhook)), f"Removed {webhook}.")


@webhooks.command()
@click.argument("webhook")
@platform_options
@pass_invocation
def rotate(invocation: Invocation, webhook: str) -> None:
    """Give a webhook a new secret, shown this once; the old one counts for a day more."""
    _print_secret(invocation, _post_with_key(invocation, f"{webhook_path(webhook)}/rotate-secret"))


@webhooks.command()
@click.argument("webhook")
@platform_options
@pass_invocation
def test(invocation: Invocation, webhook: str) -> None:
    """Send a webhook something to try it with."""
    answer = invocation.client().send_with_retries("POST", f"{webhook_path(webhook)}/test")
    invocation.print_result(answer, f"Sent {answer['deliveryId']}. What came of it: devflow webhooks deliveries {webhook}")


@webhooks.command()
@click.argument("webhook")
@click.option("--status", type=click.Choice(["pending", "delivered", "failed"]))
@click.option("--event")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@platform_options
@pass_invocation
def deliveries(invocation: Invocation, webhook: str, status: str | None, event: str | None, limit: int) -> None:
    """List what a webhook was sent, newest first."""
    asked = {"status": status, "event": event, "limit": limit}
    query = urlencode(drop_none(asked))
    found = invocation.client().send_with_retries("GET", f"{webhook_path(webhook)}/deliveries?{query}")
    rows = [row | {"attempts": len(row["attempts"])} for row in found["data"]]
    invocation.print_result(found, lambda: output.print_table(_DELIVERY_COLUMNS, rows))


@webhooks.command()
@click.argument("webhook")
@click.argument("delivery")
@platform_options
@pass_invocation
def redeliver(invocation: Invocation, webhook: str, delivery: str) -> None:
    """Send a delivery once more, under its old id."""
    where = f"{webhook_path(webhook)}/deliveries/{check_id(delivery, 'a delivery')}/redeliver"
    invocation.print_result(invocation.client().send_with_retries("POST", where), f"{delivery} goes out again.")


def _post_with_key(invocation: Invocation, where: str, body: Json | None = None) -> Json:
    """With a key, so that a secret whose answer was lost is shown all the same."""
    return invocation.client().send_with_retries("POST", where, body, Idempotency_Key=str(uuid.uuid4()))


def _print_secret(invocation: Invocation, answer: Json) -> None:
    webhook = answer["webhook"]
    invocation.print_result(answer, f"{webhook['id']} tells {webhook['url']}.\nIts secret, shown this once: {answer['secret']}")
