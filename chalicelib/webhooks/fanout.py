"""What has happened, on its way to every endpoint that wants to be told: parts of the transaction that removes the mark
by which it is still to be told, so that it is on its way to each exactly once."""

import json
from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.aws import sqs
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT
from chalicelib.webhooks import rules, store, tables
from chalicelib.webhooks.entities import Delivery, Endpoint, WebhookEvent


def find_endpoints(owner: str) -> list[Endpoint]:
    """The endpoints of a user. One request, whether or not there are any."""
    return [tables.to_endpoint(row) for row in store.find_endpoints(owner, EXACT_TOTAL_LIMIT, None).rows]


def create_deliveries(listening: Sequence[Endpoint], event: WebhookEvent, now: int) -> list[Delivery]:
    """One for each endpoint; what is sent is made here, once."""
    payload = {"event": event.type, "data": event.data}
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return [rules.new_delivery(endpoint, event, body, now) for endpoint in listening]


def delivery_items(new: Sequence[Delivery]) -> list[dynamodb.TransactItem]:
    """Parts of a transaction that puts them on their way."""
    return [store.delivery_item(delivery) for delivery in new]


def send_deliveries(new: Sequence[Delivery]) -> None:
    """Put each on the queue; what that would not take the sweep does."""
    for delivery in new:
        send_delivery(delivery)


def send_delivery(delivery: Delivery, delay_ms: int = 0) -> bool:
    return sqs.send(
        "webhooks",
        {"owner": delivery.owner, "webhook": delivery.webhook_id, "delivery": delivery.id},
        delay_ms,
    )
