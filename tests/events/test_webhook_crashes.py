"""All webhooks of many tasks arrive, signed, at their user, if three in ten processes are killed while delivering."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok
from tests.http.webhook_helpers import WebhookQueue, create_webhook, delivery_rows, is_signed_with, publish_events
from tests.service import faults, invariants
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import Receiver

MakeUser = Callable[..., Client]
EVENTS = ("task.created", "task.completed")


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Receiver()) for _ in range(2)]


@pytest.mark.parametrize("task_count", [200, pytest.param(1_000, marks=pytest.mark.long)])
@pytest.mark.timeout(1_800)
def test_every_webhook_arrives_if_three_in_ten_deliveries_are_killed(
    task_count: int,
    make_user: MakeUser,
    poller: EventPoller,
    clock: Clock,
    receivers: list[Receiver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))
    scenes = [Scenario(make_user(f"{name}@example.com"), poller) for name in ("john", "jane")]
    created = [
        create_webhook(scenario.user, receiver.url, *EVENTS)
        for scenario, receiver in zip(scenes, receivers, strict=True)
    ]
    tasks = [{f"task-{owner}-{number}" for number in range(task_count // 2)} for owner in range(2)]
    for scenario, names in zip(scenes, tasks, strict=True):
        finish(scenario, sorted(names))
        publish_events(scenario)
    killed = deliver_all(WebhookQueue(poller, clock), Handlers(poller._app), clock)
    assert killed > task_count / 10
    invariants.check()
    for receiver, hook, names in zip(receivers, created, tasks, strict=True):
        assert {(request.event, request.json()["data"]["taskId"]) for request in receiver.received} == {
            (event, task) for event in EVENTS for task in names
        }
        assert all(is_signed_with(request, hook.secret) for request in receiver.received)
        assert len({request.id for request in receiver.received}) == 2 * len(names), "a retry has the same id"
        assert len(receiver.received) >= 2 * len(names)


def finish(scenario: Scenario, names: list[str]) -> None:
    """Submit these tasks, and let an agent claim and complete them."""
    agent = scenario.agent()
    for start in range(0, len(names), 20):
        batch = names[start : start + 20]
        scenario.queue_tasks(*batch)
        assert set(agent.claims(limit=20)) == set(batch)
        for task in batch:
            ok(agent.complete(task))


def deliver_all(queue: WebhookQueue, handlers: Handlers, clock: Clock) -> int:
    """Deliver until no delivery is pending. Three in ten processes are killed, after any of their writes.

    Returns the number of killed processes.
    """
    chance, killed = random.Random(20), 0  # noqa: S311  # the same every time
    for _ in range(60):
        for message in queue.take_all():
            if chance.random() >= 0.3:
                assert handlers.batch("deliver_webhooks", message) == []
                continue
            with faults.killed_after_write(chance.randint(1, 4)), suppress(faults.ProcessKilled):
                assert handlers.batch("deliver_webhooks", message) == []
                continue
            killed += 1
        if not any(row["status"] == "pending" for row in delivery_rows()):
            return killed
        clock.advance(61)
        queue.sweep()
    raise AssertionError([row for row in delivery_rows() if row["status"] == "pending"])
