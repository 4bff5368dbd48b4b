"""What the tests of webhooks do over and over: make them, let deliveries come due, look at what was delivered."""

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
from tests.http.scene import Scene, ok
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.receivers import Got


@dataclass(frozen=True)
class Hook:
    """One webhook of a user, with the secret that only its creation showed."""

    user: Client
    id: str
    secret: str

    @property
    def path(self) -> str:
        return f"/api/webhooks/{self.id}"

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(self.path))
        return found

    def deliveries(self, **query: Any) -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = ok(self.user.get(f"{self.path}/deliveries", {"limit": 100} | query))["data"]
        return found

    def delivery(self) -> dict[str, Any]:
        """The only one there is."""
        (found,) = self.deliveries()
        return found

    def test(self) -> str:
        """Send a test; the delivery's id."""
        return str(ok(self.user.post(f"{self.path}/test"), 202)["deliveryId"])

    def redeliver(self, delivery: str) -> None:
        ok(self.user.post(f"{self.path}/deliveries/{delivery}/redeliver"), 202)

    def rotate(self) -> str:
        """The new secret."""
        return str(ok(self.user.post(f"{self.path}/rotate-secret"))["secret"])

    def change(self, **changes: Any) -> dict[str, Any]:
        changed: dict[str, Any] = ok(self.user.patch(self.path, changes))
        return changed


def make(user: Client, url: str, *events: str) -> Hook:
    made = ok(user.post("/api/webhooks", {"url": url} | ({"events": events} if events else {})), 201)
    return Hook(user, made["webhook"]["id"], made["secret"])


def signed_with(got: Got, secret: str) -> bool:
    """Whether one of the signatures of a webhook is this secret's, whatever the clock says."""
    at = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    signature = Webhook(secret).sign(got.id, at, got.body.decode())
    return signature in got.headers["webhook-signature"].split(" ")


class Queue:
    """The queue of webhooks, and the function that it feeds, step by step and by the tests' clock."""

    def __init__(self, poller: EventPoller, clock: Clock) -> None:
        self._handlers, self._clock = Handlers(poller._app), clock

    def take(self) -> list[dict[str, Any]]:
        """Every message there is, also those that SQS would hold back for a while; they are gone then."""
        bodies = [json.loads(body) for body in moto_aws.messages("webhooks")]
        queue = sqs_backends[ACCOUNT][REGION].queues["devflow-local-webhooks"]
        queue._messages.clear()
        return bodies

    def deliver(self) -> int:
        """Handle every message there is, in batches; how many there were."""
        bodies = self.take()
        for start in range(0, len(bodies), 10):
            assert self._handlers.batch("deliver_webhooks", *bodies[start : start + 10]) == []
        return len(bodies)

    def sweep(self) -> None:
        self._handlers.sweep()

    def pass_to(self, instant: int) -> None:
        """Move the clock to an instant (epoch ms), or a moment later; what is due by then is delivered."""
        if instant > self._clock.now:
            self._clock.advance((instant - self._clock.now) / 1_000)
        self.sweep()
        self.deliver()


def rows() -> list[dict[str, Any]]:
    """The stored deliveries, oldest first."""
    found = [marshalling.decode(row) for row in moto_aws.rows("webhooks")]
    return sorted((row for row in found if row["sk"].startswith("D#")), key=lambda row: str(row["sk"]))


def next_at() -> int:
    """When the only delivery is tried again."""
    (row,) = rows()
    return int(row["nextAt"])


def set_next_at(instant: int) -> None:
    """The only delivery is to be tried then."""
    (row,) = rows()
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-webhooks",
        Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}},
        UpdateExpression="SET nextAt = :at",
        ExpressionAttributeValues={":at": {"N": str(instant)}},
    )


def wait_for(so: Callable[[], bool]) -> None:
    """Wait until something is so that another thread is at."""
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def announced(scene: Scene) -> None:
    """Every event that has happened is on its way to whoever wants it."""
    for queue in scene.poller._queues:
        if queue.handler == "announce_events":
            while messages := scene.poller._receive(queue):
                queue.begin()
                scene.poller._feed(queue, messages)
