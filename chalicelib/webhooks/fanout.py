"""Fan-out: creates the deliveries of an event, one for each endpoint that subscribes to it.

The transaction that marks the event as published also creates the deliveries, so each endpoint gets exactly one.
"""

import json
from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.aws import sqs
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT
from chalicelib.webhooks import rules, store, tables
from chalicelib.webhooks.entities import Delivery, Endpoint, WebhookEvent


def find_endpoints(owner: str) -> list[Endpoint]:
    """The endpoints of a user. Always one request to DynamoDB."""
    return [tables.to_endpoint(row) for row in store.find_endpoints(owner, EXACT_TOTAL_LIMIT, None).rows]


def create_deliveries(endpoints: Sequence[Endpoint], event: WebhookEvent, now: int) -> list[Delivery]:
    """A new delivery of an event for each endpoint. The body is built here, once. Writes nothing."""
    payload = {"event": event.type, "data": event.data}
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return [rules.new_delivery(endpoint, event, body, now) for endpoint in endpoints]


def delivery_items(deliveries: Sequence[Delivery]) -> list[dynamodb.TransactItem]:
    """The items of a transaction that stores new deliveries."""
    return [store.delivery_item(delivery) for delivery in deliveries]


def send_deliveries(deliveries: Sequence[Delivery]) -> None:
    """Send a message for each delivery. The sweep sends the messages that the queue does not accept."""
    for delivery in deliveries:
        send_delivery(delivery)


def send_delivery(delivery: Delivery, delay_ms: int = 0) -> bool:
    """Send the message of a delivery, delayed by `delay_ms`. Returns False where the queue does not accept it."""
    return sqs.send(
        "webhooks",
        {"owner": delivery.owner, "webhook": delivery.webhook_id, "delivery": delivery.id},
        delay_ms,
    )
