"""Fixtures of the tests of the services: the whole platform in process, with faults where AWS begins."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import boto3
import pytest

from chalicelib.core import clock as server_clock
from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http import hooks
from tests.http.hooks import Hook, Queue
from tests.http.scene import Agent, Scene
from tests.service import invariants
from tests.service.deeds import Setting
from tests.support.client import Client
from tests.support.receivers import Receiver


@pytest.fixture
def scene(user: Client, poller: EventPoller) -> Iterator[Scene]:
    """user@example.com, with nothing yet. What must hold of the stored rows is looked at in the end."""
    yield Scene(user, poller)
    invariants.hold()


@pytest.fixture
def agent(scene: Scene) -> Agent:
    """That user's agent-1."""
    return scene.agent()


@pytest.fixture
def other(make_user: Callable[..., Client], poller: EventPoller) -> Scene:
    """Another user."""
    return Scene(make_user("other@example.com", "Jane Roe"), poller)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody's server, which takes webhooks."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def hook(scene: Scene, receiver: Receiver) -> Hook:
    """That user's webhook, which goes there."""
    return hooks.make(scene.user, receiver.url)


@pytest.fixture
def queue(poller: EventPoller, clock: Clock) -> Queue:
    """The queue of webhooks, brought by hand."""
    return Queue(poller, clock)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes where a test lets it, however slow the machine is."""
    began = time.time()
    monkeypatch.setattr(server_clock, "time", SimpleNamespace(time=lambda: began))


Sharded = Callable[[int], None]


@pytest.fixture
def sharded() -> Iterator[Sharded]:
    """Deploy the stage with another number of shards."""
    before = settings.shards

    def deploy(shards: int) -> None:
        object.__setattr__(settings, "shards", shards)  # frozen for everybody else

    yield deploy
    deploy(before)


@pytest.fixture
def setting(anonymous: Client, poller: EventPoller, clock: Clock, sharded: Sharded) -> Setting:
    """Sets the stage for deeds; with one shard, so that a sweep is two queries."""
    sharded(1)
    return Setting(anonymous, poller)


Passing = Callable[[float], None]


@pytest.fixture
def passing(clock: Clock, poller: EventPoller) -> Passing:
    """Let so many minutes pass, during which the sweep ran every minute and found nothing, and then run it."""

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
    """Tries follow one another without a pause."""
    monkeypatch.setattr("time.sleep", [].append)
