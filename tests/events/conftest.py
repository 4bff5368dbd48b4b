"""Fixtures of the tests of the event handlers: the app's own handlers, called as AWS calls them."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from infra.local.lambdas import ACCOUNT, REGION, Context
from infra.local.pump import Pump
from tests.http.scene import Agent, Scene
from tests.service import invariants
from tests.service.conftest import Sharded, no_pauses, passing, sharded
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.iam import AsDeployed

__all__ = ["no_pauses", "passing", "sharded"]


@dataclass
class LambdaContext(Context):
    """What Lambda hands over, with a clock of its own: so much time is left, call after call; the last value stays."""

    left: tuple[int, ...] = (30_000,)

    def get_remaining_time_in_millis(self) -> int:
        first, *rest = self.left
        self.left = tuple(rest) or (first,)
        return first


class Handlers:
    """The handlers of the app, by what sets them off."""

    def __init__(self, app: AsDeployed) -> None:
        self.app = app

    def batch(self, handler: str, *bodies: Any) -> list[str]:
        """Feed one batch of messages to an SQS handler; which of them (`message-0`, ...) it names as failed."""
        records = [record(f"message-{at}", body) for at, body in enumerate(bodies)]
        answer = self.app.handler_map[handler]({"Records": records}, LambdaContext(handler))
        assert set(answer) == {"batchItemFailures"}
        assert all(set(failure) == {"itemIdentifier"} for failure in answer["batchItemFailures"])
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def sweep(self, *left: int) -> None:
        """A scheduled run that has so many milliseconds left, asked again and again."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": "2025-01-24T00:00:00Z",
            "region": REGION,
            "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/devflow-local-sweep"],
            "detail": {},
        }
        assert self.app.handler_map["sweep"](event, LambdaContext("sweep", left=left or (30_000,))) is None


def record(identity: str, body: Any) -> dict[str, Any]:
    """A message as Lambda gets it, https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "messageId": identity,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1737676800000",
            "SenderId": "AROAEXAMPLE:devflow-local-api_handler",
            "ApproximateFirstReceiveTimestamp": "1737676800001",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:devflow-local-workflow",
        "awsRegion": REGION,
    }


@pytest.fixture(autouse=True)
def one_shard(sharded: Sharded) -> None:
    """A sweep is two queries then, and what it does is the same."""
    sharded(1)


@pytest.fixture
def handlers(deployed: AsDeployed) -> Handlers:
    """The app's handlers, over empty tables."""
    return Handlers(deployed)


@pytest.fixture
def scene(user: Client, pump: Pump) -> Iterator[Scene]:
    """user@example.com, with nothing yet. What must hold of the stored rows is looked at in the end."""
    yield Scene(user, pump)
    invariants.hold()


@pytest.fixture
def agent(scene: Scene) -> Agent:
    """That user's agent-1."""
    return scene.agent()


@pytest.fixture
def owner(scene: Scene) -> str:
    """The id of that user."""
    return str(invariants.rows("users")[0]["owner"])


def bodies(queue: str) -> list[dict[str, Any]]:
    """What waits in a queue."""
    return [json.loads(body) for body in moto_aws.messages(queue)]


def delete(table: str, **key: str) -> None:
    """A row is gone."""
    stored = {name: {"S": value} for name, value in key.items()}
    boto3.client("dynamodb").delete_item(TableName=f"devflow-local-{table}", Key=stored)
