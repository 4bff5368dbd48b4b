"""Fixtures of the tests of the event handlers, which are called as AWS calls them."""

import json
from typing import Any

import boto3
import pytest

from tests.http.scenario import Scenario
from tests.service import invariants
from tests.service.conftest import (
    SetShards,
    agent,
    frozen_time,
    hook,
    no_pauses,
    pass_minutes,
    queue,
    receiver,
    scenario,
    set_shards,
)
from tests.support import moto_aws
from tests.support.handlers import Handlers
from tests.support.iam import DeployedApp

__all__ = ["agent", "frozen_time", "hook", "no_pauses", "pass_minutes", "queue", "receiver", "scenario", "set_shards"]


@pytest.fixture(autouse=True)
def one_shard(set_shards: SetShards) -> None:
    """With one shard a sweep sends fewer queries, with the same effect."""
    set_shards(1)


@pytest.fixture
def handlers(deployed: DeployedApp) -> Handlers:
    """The app's event handlers, with empty tables."""
    return Handlers(deployed)


@pytest.fixture
def owner(scenario: Scenario) -> str:
    """The id of user@example.com."""
    return str(invariants.rows("users")[0]["owner"])


def bodies(queue: str) -> list[dict[str, Any]]:
    """The parsed bodies of all messages of a queue."""
    return [json.loads(body) for body in moto_aws.messages(queue)]


def delete(table: str, **key: str) -> None:
    """Delete a row directly."""
    stored = {name: {"S": value} for name, value in key.items()}
    boto3.client("dynamodb").delete_item(TableName=f"devflow-local-{table}", Key=stored)
