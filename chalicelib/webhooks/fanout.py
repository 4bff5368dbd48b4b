"""What has happened, on its way to every endpoint that wants to be told: parts of the transaction that removes the mark
by which it is still to be told, so that it is on its way to each exactly once."""

import json
from collections.abc import Sequence

from chalicelib import db, queue
from chalicelib.pages import COUNTED
from chalicelib.webhooks import model, rows, store
from chalicelib.webhooks.webhook import Delivery, Endpoint, Happening


def endpoints(owner: str) -> list[Endpoint]:
    """The endpoints of a user. One request, whether or not there are any."""
    return [rows.to_endpoint(row) for row in store.find(owner, COUNTED, None).rows]


def deliveries(listening: Sequence[Endpoint], happening: Happening, now: int) -> list[Delivery]:
    """One for each endpoint; what is sent is made here, once."""
    payload = {"event": happening.type, "data": happening.data}
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return [model.delivery(endpoint, happening, body, now) for endpoint in listening]


def parts(new: Sequence[Delivery]) -> list[db.Part]:
    """Parts of a transaction that puts them on their way."""
    return [store.new(delivery) for delivery in new]


def send(new: Sequence[Delivery]) -> None:
    """Put each on the queue; what that would not take the sweep does."""
    for delivery in new:
        send_one(delivery)


def send_one(delivery: Delivery, delay: int = 0) -> bool:
    return queue.send(
        "webhooks",
        {"owner": delivery.owner, "webhook": delivery.webhook, "delivery": delivery.id},
        delay,
    )
