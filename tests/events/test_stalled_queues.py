"""The function of one queue stands still for an hour, while the sweep and everything else run.

No task fails, nothing is sent more often than useful, and everything is done within two minutes of its return.
"""

from collections import Counter
from copy import copy
from dataclasses import replace

import pytest

from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.events.conftest import bodies
from tests.http.scenario import Agent, Scenario, ok
from tests.http.webhook_helpers import create_webhook, delivery_rows
from tests.service import invariants
from tests.support.webhook_receiver import Receiver

MINUTES = 60


@pytest.fixture(autouse=True)
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))


def pass_an_hour(poller: EventPoller, clock: Clock, stalled: str) -> None:
    """An hour with a sweep every minute. All functions run except `stalled`."""
    running = copy(poller)
    running._queues = [queue for queue in poller._queues if queue.handler != stalled]
    for _ in range(MINUTES):
        clock.advance(60)
        running.sweep()
        running.drain()


def statuses() -> Counter[str]:
    return Counter(head["status"] for head in invariants.heads())


def run_all(agents: list[Agent]) -> None:
    """Each agent claims tasks and completes them, until there are none."""
    while claimed := [(agent, task_id) for agent in agents for task_id in agent.claims(limit=20)]:
        for agent, task_id in claimed:
            ok(agent.complete(task_id))


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.long)])
def test_no_task_fails_while_the_workflow_queue_stands_still(
    scenario: Scenario, clock: Clock, poller: EventPoller, count: int
) -> None:
    for number in range(count):
        scenario.submit(f"task-{number}")

    pass_an_hour(poller, clock, "run_workflows")
    assert statuses() == {"queued": count}, "the sweep has made the tasks claimable"
    assert len(bodies("workflow")) == count, "each message was sent once"

    returned_at = clock.now
    agents = [scenario.agent(f"agent-{number}") for number in range(3)]
    poller.drain()
    run_all(agents)
    assert statuses() == {"completed": count}
    assert clock.now - returned_at < 2 * 60_000
    events = Counter(row["type"] for row in invariants.rows("tasks") if row["sk"].startswith("E#"))
    assert events == dict.fromkeys(["task.created", "task.queued", "task.assigned", "task.completed"], count)


def test_events_are_published_while_the_events_queue_stands_still(
    scenario: Scenario, clock: Clock, poller: EventPoller, receiver: Receiver
) -> None:
    create_webhook(scenario.user, receiver.url)
    agent = scenario.agent()
    scenario.queue_tasks(*[f"task-{number}" for number in range(10)])
    run_all([agent])
    sent = len(bodies("events"))

    pass_an_hour(poller, clock, "announce_events")
    unpublished = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    assert (unpublished, [row for row in invariants.rows("agents") if "news" in row]) == ([], [])
    assert len(bodies("events")) == sent + 1, "one more for the agent that became inactive, and none was sent again"
    expected = {"task.created": 10, "task.completed": 10, "agent.active": 1, "agent.inactive": 1}
    assert Counter(request.json()["event"] for request in receiver.received) == expected

    poller.drain()
    assert len(receiver.received) == sum(expected.values()), "the late messages change nothing"


def test_deliveries_are_sent_at_growing_intervals_while_the_webhooks_queue_stands_still(
    scenario: Scenario, clock: Clock, poller: EventPoller, receiver: Receiver
) -> None:
    hook = create_webhook(scenario.user, receiver.url)
    for _ in range(5):
        hook.test()

    pass_an_hour(poller, clock, "deliver_webhooks")
    assert {row["status"] for row in delivery_rows()} == {"pending"}
    sent = Counter(body["delivery"] for body in bodies("webhooks"))
    assert set(sent.values()) <= {6, 7}, "at once, and after about 1, 3, 7, 15, 31 and 63 minutes"

    returned_at = clock.now
    poller.drain()
    for _ in range(2):  # an endpoint has four slots, so a delivery may be deferred
        clock.advance(59)
        poller.sweep()
        poller.drain()
    assert {row["status"] for row in delivery_rows()} == {"delivered"}
    assert clock.now - returned_at < 2 * 60_000
    assert len(receiver.received) == 5
