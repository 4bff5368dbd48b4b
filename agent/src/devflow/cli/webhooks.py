"""`devflow webhooks`: manage webhooks and their deliveries (docs/webhooks.md)."""

import uuid
from typing import Any
from urllib.parse import urlencode

import click

from devflow.api_client import Json, drop_none
from devflow.cli import output
from devflow.cli.ids import check_id, webhook_path
from devflow.cli.invocation import Invocation, pass_invocation, platform_options

_WEBHOOK_COLUMNS = {
    "id": "Webhook", "url": "Address", "events": "Events", "enabled": "Enabled", "description": "Description",
}  # fmt: skip
_DELIVERY_COLUMNS = {
    "id": "Delivery", "event": "Event", "status": "Status", "attempts": "Attempts", "createdAt": "Created",
    "error": "Error",
}  # fmt: skip
_webhook_argument = click.argument("webhook_id", metavar="WEBHOOK")


@click.group()
def webhooks() -> None:
    """Send events to other programs."""


@webhooks.command("list")
@platform_options
@pass_invocation
def list_webhooks(invocation: Invocation) -> None:
    """List webhooks."""
    page = invocation.client().send_with_retries("GET", "/api/webhooks?limit=100")
    invocation.print_result(page, lambda: output.print_table(_WEBHOOK_COLUMNS, page["data"]))


@webhooks.command()
@click.argument("address")
@click.option(
    "--event", "events", multiple=True, metavar="EVENT", help="An event to send. Can be repeated. [default: all events]"
)
@click.option("--description", help="A note for people.")
@platform_options
@pass_invocation
def add(invocation: Invocation, address: str, events: tuple[str, ...], description: str | None) -> None:
    """Send events to the URL ADDRESS. The secret of the webhook is printed only once."""
    body = {"url": address, "events": list(events) or None, "description": description}
    _print_secret(invocation, _post_with_key(invocation, "/api/webhooks", drop_none(body)))


@webhooks.command()
@_webhook_argument
@platform_options
@pass_invocation
def show(invocation: Invocation, webhook_id: str) -> None:
    """Show a webhook."""
    webhook = invocation.client().send_with_retries("GET", webhook_path(webhook_id))
    invocation.print_result(webhook, lambda: output.print_fields(webhook))


@webhooks.command()
@_webhook_argument
@click.option("--address", metavar="ADDRESS", help="The URL to send events to.")
@click.option(
    "--event", "events", multiple=True, metavar="EVENT", help="An event to send. Can be repeated. Replaces all events."
)
@click.option("--description", help="A note for people.")
@click.option("--enable/--disable", "enabled", default=None, help="Start or stop sending events.")
@platform_options
@pass_invocation
def change(
    invocation: Invocation, /, webhook_id: str, address: str | None, events: tuple[str, ...], **more: Any
) -> None:
    """Change a webhook. Options that are not given keep their values."""
    body = {"url": address, "events": list(events) or None} | more
    webhook = invocation.client().send_with_retries("PATCH", webhook_path(webhook_id), drop_none(body))
    invocation.print_result(webhook, lambda: output.print_fields(webhook))


@webhooks.command()
@_webhook_argument
@platform_options
@pass_invocation
def remove(invocation: Invocation, webhook_id: str) -> None:
    """Remove a webhook."""
    response = invocation.client().send_with_retries("DELETE", webhook_path(webhook_id))
    invocation.print_result(response, f"Removed {webhook_id}.")


@webhooks.command()
@_webhook_argument
@platform_options
@pass_invocation
def rotate(invocation: Invocation, webhook_id: str) -> None:
    """Create a new secret, which is printed only once. The old secret stays valid for one day."""
    _print_secret(invocation, _post_with_key(invocation, f"{webhook_path(webhook_id)}/rotate-secret"))


@webhooks.command()
@_webhook_argument
@platform_options
@pass_invocation
def test(invocation: Invocation, webhook_id: str) -> None:
    """Send a test event to a webhook."""
    response = invocation.client().send_with_retries("POST", f"{webhook_path(webhook_id)}/test")
    text = f"Sent {response['deliveryId']}. See its status with: devflow webhooks deliveries {webhook_id}"
    invocation.print_result(response, text)


@webhooks.command()
@_webhook_argument
@click.option(
    "--status", type=click.Choice(["pending", "delivered", "failed"]), help="Only deliveries with this status."
)
@click.option("--event", help="Only deliveries of this event.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="The number of deliveries.")
@platform_options
@pass_invocation
def deliveries(invocation: Invocation, webhook_id: str, status: str | None, event: str | None, limit: int) -> None:
    """List the deliveries of a webhook, newest first."""
    query = urlencode(drop_none({"status": status, "event": event, "limit": limit}))
    page = invocation.client().send_with_retries("GET", f"{webhook_path(webhook_id)}/deliveries?{query}")
    rows = [row | {"attempts": len(row["attempts"])} for row in page["data"]]
    invocation.print_result(page, lambda: output.print_table(_DELIVERY_COLUMNS, rows))


@webhooks.command()
@_webhook_argument
@click.argument("delivery_id", metavar="DELIVERY")
@platform_options
@pass_invocation
def redeliver(invocation: Invocation, webhook_id: str, delivery_id: str) -> None:
    """Send a delivery again with the same id."""
    path = f"{webhook_path(webhook_id)}/deliveries/{check_id(delivery_id, 'delivery id')}/redeliver"
    invocation.print_result(invocation.client().send_with_retries("POST", path), f"{delivery_id} is sent again.")


def _post_with_key(invocation: Invocation, path: str, body: Json | None = None) -> Json:
    """Send a POST with an idempotency key, so that a retry after a lost response returns the same secret."""
    return invocation.client().send_with_retries("POST", path, body, Idempotency_Key=str(uuid.uuid4()))


def _print_secret(invocation: Invocation, response: Json) -> None:
    webhook = response["webhook"]
    text = f"{webhook['id']} sends events to {webhook['url']}.\nIts secret, which is printed only once: "
    invocation.print_result(response, text + response["secret"])
