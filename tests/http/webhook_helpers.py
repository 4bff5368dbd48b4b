"""Helpers for the tests of webhooks: create a webhook, advance its deliveries and read what was delivered."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from moto.sqs.models import sqs_backends
from standardwebhooks import Webhook

from chalicelib.dynamodb import marshalling
from infra.local.event_poller import EventPoller
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import ReceivedRequest


@dataclass(frozen=True)
class WebhookClient:
    """A client of one webhook. `secret` comes from the response to its creation, the only one that has it."""

    user: Client
    id: str
    secret: str

    @property
    def path(self) -> str:
        return f"/api/webhooks/{self.id}"

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(self.path))
        return found

    def deliveries(self, **query: Any) -> list[dict[str, Any]]:
        """Up to 100 deliveries, newest first."""
        found: list[dict[str, Any]] = ok(self.user.get(f"{self.path}/deliveries", {"limit": 100} | query))["data"]
        return found

    def delivery(self) -> dict[str, Any]:
        """The only delivery. ValueError if the number of deliveries is not 1."""
        (found,) = self.deliveries()
        return found

    def test(self) -> str:
        """Send a test event, and return the id of its delivery."""
        return str(ok(self.user.post(f"{self.path}/test"), 202)["deliveryId"])

    def redeliver(self, delivery: str) -> None:
        ok(self.user.post(f"{self.path}/deliveries/{delivery}/redeliver"), 202)

    def rotate_secret(self) -> str:
        """Rotate the secret, and return the new one."""
        return str(ok(self.user.post(f"{self.path}/rotate-secret"))["secret"])

    def update(self, **changes: Any) -> dict[str, Any]:
        changed: dict[str, Any] = ok(self.user.patch(self.path, changes))
        return changed


def create_webhook(user: Client, url: str, *events: str) -> WebhookClient:
    """Create a webhook. Without events it selects all of them."""
    created = ok(user.post("/api/webhooks", {"url": url} | ({"events": events} if events else {})), 201)
    return WebhookClient(user, created["webhook"]["id"], created["secret"])


def is_signed_with(got: ReceivedRequest, secret: str) -> bool:
    """Whether one of the signatures of a received webhook was made with this secret. Its age is not checked."""
    sent_at = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    signature = Webhook(secret).sign(got.id, sent_at, got.body.decode())
    return signature in got.headers["webhook-signature"].split(" ")


class WebhookQueue:
    """The webhooks queue and its function. Tests run them step by step, by the clock of the tests."""

    def __init__(self, poller: EventPoller, clock: Clock) -> None:
        self._handlers, self._clock = Handlers(poller._app), clock

    def take_all(self) -> list[dict[str, Any]]:
        """Remove all messages from the queue, also delayed ones, and return their bodies."""
        bodies = [json.loads(body) for body in moto_aws.messages("webhooks")]
        queue = sqs_backends[ACCOUNT][REGION].queues["devflow-local-webhooks"]
        queue._messages.clear()
        return bodies

    def deliver(self) -> int:
        """Handle all messages in batches of ten, also delayed ones. Returns the number of messages."""
        bodies = self.take_all()
        for start in range(0, len(bodies), 10):
            assert self._handlers.batch("deliver_webhooks", *bodies[start : start + 10]) == []
        return len(bodies)

    def sweep(self) -> None:
        self._handlers.sweep()

    def advance_to(self, instant: int) -> None:
        """Advance the clock to an instant (epoch ms) and deliver what is due. The clock never moves back."""
        if instant > self._clock.now:
            self._clock.advance((instant - self._clock.now) / 1_000)
        self.sweep()
        self.deliver()


def delivery_rows() -> list[dict[str, Any]]:
    """The decoded rows of all deliveries, oldest first."""
    found = [marshalling.decode(row) for row in moto_aws.rows("webhooks")]
    return sorted((row for row in found if row["sk"].startswith("D#")), key=lambda row: str(row["sk"]))


def next_attempt_at() -> int:
    """The instant of the next attempt of the only delivery (epoch ms)."""
    (row,) = delivery_rows()
    return int(row["nextAt"])


def set_next_attempt_at(instant: int) -> None:
    """Set the instant of the next attempt of the only delivery (epoch ms)."""
    (row,) = delivery_rows()
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-webhooks",
        Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}},
        UpdateExpression="SET nextAt = :at",
        ExpressionAttributeValues={":at": {"N": str(instant)}},
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true that another thread fulfils. AssertionError after 60 seconds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the condition did not become true within 60 seconds"
        time.sleep(0.01)


def publish_events(scenario: Scenario) -> None:
    """Handle all messages of the events queue, so that every webhook that selects an event gets a delivery."""
    for queue in scenario.poller._queues:
        if queue.handler == "announce_events":
            while messages := scenario.poller._receive(queue):
                queue.begin()
                scenario.poller._feed(queue, messages)
