"""What has happened reaches every webhook that wants it, once: events of tasks, and agents that come and go."""

from typing import Any

import pytest

from chalicelib.orchestration import event_publisher
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.events.conftest import bodies, delete
from tests.http import hooks
from tests.http.hooks import Hook, Queue
from tests.http.scene import Agent, Scene, ok
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes
from tests.support import aws_requests
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import ReceivedRequest, Receiver

URL = "http://localhost:9/"
"""Nobody is there: most of these tests look at what is on its way, and deliver nothing."""


@pytest.fixture
def hook(scene: Scene) -> Hook:
    return hooks.make(scene.user, URL)


def told(hook: Hook) -> list[str]:
    """The events on their way to a webhook, in their order."""
    return [each["event"] for each in sorted(hook.deliveries(), key=lambda each: int(each["sequence"]))]


def payloads(hook: Hook) -> dict[str, Any]:
    """What is told, by event."""
    return {each["payload"]["event"]: each["payload"]["data"] for each in hook.deliveries()}


# The payloads.


def test_payloads_of_the_specification_are_sent_exactly(
    scene: Scene, agent: Agent, queue: Queue, receiver: Receiver, owner: str
) -> None:
    hooks.make(scene.user, receiver.url, "task.created", "task.completed")
    scene.running(agent)
    ok(agent.complete("task-1", prUrl="https://github.com/user/repo/pull/123"))
    hooks.announced(scene)
    queue.deliver()
    created, completed = sorted(receiver.received, key=lambda got: int(got.headers["devflow-sequence"]))
    assert created.json() == {
        "event": "task.created",
        "data": {"taskId": "task-1", "userId": owner, "intent": "fix-bug", "repo": "https://example.com/r"},
    }
    assert completed.json() == {
        "event": "task.completed",
        "data": {
            "taskId": "task-1",
            "status": "completed",
            "prUrl": "https://github.com/user/repo/pull/123",
            "completedAt": scene.task()["completedAt"],
        },
    }
    assert [list(got.json()) for got in receiver.received] == [["event", "data"]] * 2
    assert [list(got.json()["data"]) for got in (created, completed)] == [
        ["taskId", "userId", "intent", "repo"],
        ["taskId", "status", "prUrl", "completedAt"],
    ]


def test_other_payloads_have_the_same_form(scene: Scene, agent: Agent, hook: Hook, owner: str) -> None:
    scene.running(agent, "task-1")
    started = scene.task("task-1")
    ok(agent.fail("task-1", "It broke"))
    scene.running(agent, "task-2")
    ok(agent.complete("task-2"))
    scene.queued("task-3")
    ok(scene.user.post("/api/tasks/task-3/cancel"))
    ok(agent.beat(status="disconnected"))
    hooks.announced(scene)
    found = payloads(hook)
    assert set(found) == {
        "agent.active", "agent.inactive", "task.created", "task.started", "task.completed", "task.failed",
        "task.cancelled",
    }  # fmt: skip
    (first,) = [
        each["payload"]["data"]
        for each in hook.deliveries(event="task.started")
        if each["payload"]["data"]["taskId"] == "task-1"
    ]
    assert first == {
        "taskId": "task-1",
        "status": "in_progress",
        "agentId": "agent-1",
        "attempt": 1,
        "startedAt": started["startedAt"],
    }
    assert found["task.failed"] == {
        "taskId": "task-1",
        "status": "failed",
        "error": "It broke",
        "completedAt": scene.task("task-1")["completedAt"],
    }
    assert found["task.cancelled"] == {
        "taskId": "task-3",
        "status": "cancelled",
        "error": None,
        "completedAt": scene.task("task-3")["completedAt"],
    }
    assert found["task.completed"]["prUrl"] is None
    shown = scene.shown()
    assert found["agent.inactive"] == {
        "agentId": "agent-1",
        "userId": owner,
        "name": "agent-1",
        "status": "inactive",
        "lastHeartbeat": shown["lastHeartbeat"],
        "changedAt": shown["lastHeartbeat"],
    }
    assert found["agent.active"]["status"] == "active"


def test_sequence_orders_the_webhooks_of_a_task(scene: Scene, agent: Agent, hook: Hook) -> None:
    scene.running(agent)
    ok(agent.complete("task-1"))
    messages = bodies("events")
    for message in reversed(messages):  # announced in the wrong order
        Handlers(scene.poller._app).batch("announce_events", message)
    of_the_task = [event for event in told(hook) if event.startswith("task.")]
    assert of_the_task == ["task.created", "task.started", "task.completed"]


# Tasks.


def test_event_creates_one_delivery_for_repeated_messages(scene: Scene, hook: Hook, handlers: Handlers) -> None:
    scene.queued()
    messages = bodies("events")
    for _ in range(3):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert told(hook) == ["task.created"]


def test_concurrent_publications_create_one_delivery(scene: Scene, hook: Hook, handlers: Handlers) -> None:
    scene.queued()
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages) == []
    assert told(hook) == ["task.created"]


def test_webhook_gets_only_selected_events_of_its_user(
    scene: Scene, hook: Hook, agent: Agent, make_user: Any, poller: EventPoller
) -> None:
    other = Scene(make_user("other@example.com"), poller)
    theirs = hooks.make(other.user, URL)
    failures = hooks.make(scene.user, URL, "task.failed")
    twice = hooks.make(scene.user, URL, "task.created", "task.failed")
    ok(agent.fail(scene.running(agent)))
    hooks.announced(scene)
    assert told(failures) == ["task.failed"]
    assert told(twice) == ["task.created", "task.failed"]
    assert [event for event in told(hook) if event.startswith("task.")] == [
        "task.created", "task.started", "task.failed",
    ]  # fmt: skip
    assert told(theirs) == []


def test_event_of_a_user_without_webhooks_costs_one_more_request(scene: Scene, handlers: Handlers, hook: Hook) -> None:
    ok(scene.user.delete(hook.path))
    scene.queued()
    with aws_requests.recorded() as sent:
        handlers.batch("announce_events", *bodies("events"))
    assert [(request.operation, request.tables[0].rpartition("-")[2]) for request in sent] == [
        ("GetItem", "tasks"),
        ("Query", "webhooks"),
        ("TransactWriteItems", "tasks"),
    ]


def test_event_of_a_deleted_task_creates_no_delivery_and_ends(
    scene: Scene, hook: Hook, handlers: Handlers, owner: str
) -> None:
    scene.queued()
    messages = bodies("events")
    delete("tasks", pk=f"{owner}#task-1", sk="H")
    assert handlers.batch("announce_events", *messages) == []
    assert told(hook) == []
    assert not [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    delete("users", owner=owner)  # whose count says that there is one task more


# Agents. What is told of them is on their row; a heartbeat costs no request more.


def news() -> list[str]:
    (row,) = invariants.rows("agents")
    return [each["event"].removeprefix("agent.") for each in row.get("news", [])]


def test_status_events_of_an_agent_that_becomes_silent_are_published(
    scene: Scene, hook: Hook, agent: Agent, pass_minutes: PassMinutes, poller: EventPoller
) -> None:
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]
    pass_minutes(5)
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive"]
    ok(agent.beat())
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]
    for _ in range(3):
        ok(agent.beat(status="ready"))
        ok(agent.poll())
    hooks.announced(scene)
    assert len(told(hook)) == 3
    assert news() == []


def test_status_events_of_an_agent_that_disconnects_are_published(scene: Scene, hook: Hook, agent: Agent) -> None:
    ok(agent.beat(status="disconnected"))
    ok(agent.beat(status="disconnected"))
    ok(agent.poll())
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_agent_that_returns_in_error_is_published_as_active_with_error(scene: Scene, hook: Hook, agent: Agent) -> None:
    ok(agent.beat(status="error"))
    ok(agent.beat(status="ready"))
    ok(agent.beat(status="disconnected"))
    ok(agent.beat(status="error"))
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]
    assert hook.deliveries()[0]["payload"]["data"]["status"] == "error"


def test_replaced_agent_is_published_only_if_it_was_inactive(scene: Scene, hook: Hook, agent: Agent) -> None:
    scene.agent(replace=True)
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]
    ok(agent.client.acting_as(scene.user.token).post("/api/agents/agent-1/heartbeat", {"status": "disconnected"}))
    scene.agent(replace=True)
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_status_event_with_a_lost_message_is_published_after_a_sweep(
    scene: Scene, hook: Hook, clock: Clock, poller: EventPoller
) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=99):
        agent = scene.agent()
    assert (bodies("events"), news()) == ([], ["active"])
    clock.advance(61)
    ok(agent.beat())  # which moves when the sweep looks after the agent, but not this
    poller.sweep()
    assert len(bodies("events")) == 1
    poller.sweep()
    assert len(bodies("events")) == 1
    hooks.announced(scene)
    assert (told(hook), news()) == (["agent.active"], [])


def test_status_event_is_published_once_for_repeated_messages(
    scene: Scene, hook: Hook, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert told(hook) == ["agent.active"]


def test_status_event_during_another_publication_is_published_too(
    scene: Scene, hook: Hook, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: agent.beat(status="disconnected")):
        assert handlers.batch("announce_events", *messages) == []
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive"]


def test_many_status_events_are_published_in_several_transactions(scene: Scene, hook: Hook, agent: Agent) -> None:
    for _ in range(3):
        ok(agent.beat(status="disconnected"))
        ok(agent.beat(status="ready"))
    assert len(news()) == 7 > event_publisher.EVENTS_PER_TRANSACTION
    with aws_requests.recorded() as sent:
        hooks.announced(scene)
    assert told(hook) == ["agent.active", *["agent.inactive", "agent.active"] * 3]
    writes = [request for request in sent if request.operation == "TransactWriteItems"]
    assert [len(request.params["TransactItems"]) for request in writes] == [3, 3, 3, 2]


def test_status_events_are_published_before_the_agent_is_deleted(scene: Scene, hook: Hook, agent: Agent) -> None:
    assert news() == ["active"]
    ok(scene.user.delete("/api/agents/agent-1"))
    assert invariants.rows("agents") == []
    assert told(hook) == ["agent.active"]


def test_agent_of_an_interrupted_removal_is_deleted_after_its_status_events(
    scene: Scene, hook: Hook, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    with faults.killed_after_write(2), pytest.raises(faults.ProcessKilled):
        scene.user.delete("/api/agents/agent-1")
    assert news() == ["active"]
    clock.advance(61)
    poller.sweep()
    assert invariants.rows("agents") == []
    assert told(hook) == ["agent.active"]


def test_agent_that_checks_in_while_a_sweep_marks_it_stays_active(
    scene: Scene, hook: Hook, agent: Agent, pass_minutes: PassMinutes
) -> None:
    silent = faults.about("devflow-local-agents", "SET")
    with faults.interleaved("UpdateItem", lambda: ok(agent.beat()), when=silent):
        pass_minutes(5)
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]


def test_message_for_a_missing_agent_is_acknowledged(scene: Scene, handlers: Handlers, owner: str) -> None:
    assert handlers.batch("announce_events", {"owner": owner, "agent": "never-was"}) == []


# Everything together.


def deliver_all(scene: Scene, queue: Queue, clock: Clock, rounds: int) -> None:
    for _ in range(rounds):
        hooks.announced(scene)
        queue.deliver()
        clock.advance(61)
        queue.sweep()


def by_event(got: list[ReceivedRequest]) -> dict[tuple[str, str], set[str]]:
    """The ids under which each event of each task came."""
    came: dict[tuple[str, str], set[str]] = {}
    for each in got:
        payload = each.json()
        about = payload["data"].get("taskId") or payload["data"]["agentId"]
        came.setdefault((payload["event"], about), set()).add(each.id)
    return came


def test_listed_deliveries_equal_the_received_webhooks(
    scene: Scene, agent: Agent, receiver: Receiver, queue: Queue, clock: Clock, user: Client
) -> None:
    hook = hooks.make(user, receiver.url)
    ok(agent.complete(scene.running(agent)))
    deliver_all(scene, queue, clock, 2)
    arrived = {got.id: got.json() for got in receiver.received}
    assert {each["id"]: each["payload"] for each in hook.deliveries()} == arrived
    assert set(by_event(receiver.received)) == {
        ("agent.active", "agent-1"),
        ("task.created", "task-1"),
        ("task.started", "task-1"),
        ("task.completed", "task-1"),
    }
