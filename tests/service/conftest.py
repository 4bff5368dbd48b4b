"""Fixtures of the service tests: the complete platform in this process, with faults injected at the AWS client."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import boto3
import pytest

from chalicelib.core import clock as server_clock
from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from tests.conftest import Clock, setting_changer
from tests.http.scenario import Agent, Scenario
from tests.http.webhook_helpers import WebhookClient, WebhookQueue, create_webhook
from tests.service import invariants
from tests.service.operations import OperationHarness
from tests.support.client import Client
from tests.support.webhook_receiver import Receiver


@pytest.fixture
def scenario(user: Client, poller: EventPoller) -> Iterator[Scenario]:
    """user@example.com, without agents and tasks. The invariants of the stored rows are checked at the end."""
    yield Scenario(user, poller)
    invariants.check()


@pytest.fixture
def agent(scenario: Scenario) -> Agent:
    """agent-1 of user@example.com."""
    return scenario.agent()


@pytest.fixture
def other(make_user: Callable[..., Client], poller: EventPoller) -> Scenario:
    """Another user."""
    return Scenario(make_user("other@example.com", "Jane Roe"), poller)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def hook(scenario: Scenario, receiver: Receiver) -> WebhookClient:
    """A webhook of user@example.com that delivers to the receiver."""
    return create_webhook(scenario.user, receiver.url)


@pytest.fixture
def queue(poller: EventPoller, clock: Clock) -> WebhookQueue:
    """The webhooks queue, whose messages a test handles on demand."""
    return WebhookQueue(poller, clock)


@pytest.fixture
def frozen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves only when a test advances it, so the speed of the machine does not matter."""
    start = time.time()
    monkeypatch.setattr(server_clock, "time", SimpleNamespace(time=lambda: start))


SetShards = Callable[[int], None]


@pytest.fixture
def set_shards() -> Iterator[SetShards]:
    """A function that changes the stage's number of shards until the end of the test."""
    yield from setting_changer("shards")


@pytest.fixture
def harness(anonymous: Client, poller: EventPoller, clock: Clock, set_shards: SetShards) -> OperationHarness:
    """Creates contexts for operations. The stage has one shard, so a sweep sends only two queries for due rows."""
    set_shards(1)
    return OperationHarness(anonymous, poller)


PassMinutes = Callable[[float], None]


@pytest.fixture
def pass_minutes(clock: Clock, poller: EventPoller) -> PassMinutes:
    """A function that lets minutes pass in which the sweep ran every minute and found nothing, and then sweeps."""

    def let_pass(minutes: float) -> None:
        clock.advance(60 * minutes)
        boto3.client("dynamodb").update_item(
            TableName="devflow-local-tasks",
            Key={"pk": {"S": "~sweep"}, "sk": {"S": "~sweep"}},
            UpdateExpression="SET lastAt = :minute_ago",
            ExpressionAttributeValues={":minute_ago": {"N": str(clock.now - 60_000)}},
        )
        poller.sweep()
        poller.drain()

    return let_pass


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other without pauses."""
    monkeypatch.setattr("time.sleep", [].append)


@pytest.fixture
def set_limits() -> Iterator[Callable[..., None]]:
    """A function that changes the limits of the stage: `set_limits(open_tasks_per_user=2)`."""
    names = ("open_tasks_per_user", "agents_per_user", "tasks_per_day", "bytes_per_day")
    before = {name: getattr(settings, name) for name in names}

    def deploy(**limits: int) -> None:
        for name, value in limits.items():
            object.__setattr__(settings, name, value)  # the settings are frozen

    yield deploy
    deploy(**before)
