"""Fixtures of the tests of the event handlers: the app's own handlers, called as AWS calls them."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from infra.local.pump import Pump
from tests.http.scene import Agent, Scene
from tests.service import invariants
from tests.service.conftest import Sharded, no_pauses, passing, sharded
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.iam import AsDeployed

__all__ = ["no_pauses", "passing", "sharded"]


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
