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
from tests.service.conftest import Passing
from tests.support import wire
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.receivers import Got, Receiver

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


def test_the_specs_two_payloads_are_told_to_the_letter(
    scene: Scene, agent: Agent, queue: Queue, receiver: Receiver, owner: str
) -> None:
    hooks.make(scene.user, receiver.url, "task.created", "task.completed")
    scene.running(agent)
    ok(agent.complete("task-1", prUrl="https://github.com/user/repo/pull/123"))
    hooks.announced(scene)
    queue.deliver()
    created, completed = sorted(receiver.got, key=lambda got: int(got.headers["devflow-sequence"]))
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
    assert [list(got.json()) for got in receiver.got] == [["event", "data"]] * 2
    assert [list(got.json()["data"]) for got in (created, completed)] == [
        ["taskId", "userId", "intent", "repo"],
        ["taskId", "status", "prUrl", "completedAt"],
    ]


def test_the_others_are_told_in_the_same_form(scene: Scene, agent: Agent, hook: Hook, owner: str) -> None:
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


def test_the_sequence_of_two_webhooks_about_one_task_says_which_is_the_later(
    scene: Scene, agent: Agent, hook: Hook
) -> None:
    scene.running(agent)
    ok(agent.complete("task-1"))
    messages = bodies("events")
    for message in reversed(messages):  # announced in the wrong order
        Handlers(scene.poller._app).batch("announce_events", message)
    of_the_task = [event for event in told(hook) if event.startswith("task.")]
    assert of_the_task == ["task.created", "task.started", "task.completed"]


# Tasks.


def test_an_event_is_told_once_however_often_its_message_comes(scene: Scene, hook: Hook, handlers: Handlers) -> None:
    scene.queued()
    messages = bodies("events")
    for _ in range(3):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert told(hook) == ["task.created"]


def test_two_who_tell_the_same_at_the_same_moment_tell_it_once(scene: Scene, hook: Hook, handlers: Handlers) -> None:
    scene.queued()
    messages = bodies("events")
    with faults.meanwhile("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages) == []
    assert told(hook) == ["task.created"]


def test_each_webhook_is_told_what_it_wants_and_nobody_elses(
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


def test_whoever_has_no_webhooks_costs_one_request_more(scene: Scene, handlers: Handlers, hook: Hook) -> None:
    ok(scene.user.delete(hook.path))
    scene.queued()
    with wire.recorded() as sent:
        handlers.batch("announce_events", *bodies("events"))
    assert [(request.operation, request.tables[0].rpartition("-")[2]) for request in sent] == [
        ("GetItem", "tasks"),
        ("Query", "webhooks"),
        ("TransactWriteItems", "tasks"),
    ]


def test_a_task_that_is_gone_has_nothing_to_tell_and_its_event_ends(
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


def test_an_agent_that_registers_falls_silent_and_comes_back_is_told_of(
    scene: Scene, hook: Hook, agent: Agent, passing: Passing, poller: EventPoller
) -> None:
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]
    passing(5)
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


def test_an_agent_that_goes_and_is_heard_of_again_is_told_of(scene: Scene, hook: Hook, agent: Agent) -> None:
    ok(agent.beat(status="disconnected"))
    ok(agent.beat(status="disconnected"))
    ok(agent.poll())
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_an_agent_in_trouble_is_there_and_one_that_comes_back_in_trouble_says_so(
    scene: Scene, hook: Hook, agent: Agent
) -> None:
    ok(agent.beat(status="error"))
    ok(agent.beat(status="ready"))
    ok(agent.beat(status="disconnected"))
    ok(agent.beat(status="error"))
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]
    assert hook.deliveries()[0]["payload"]["data"]["status"] == "error"


def test_an_agent_registered_anew_is_told_of_where_it_had_gone(scene: Scene, hook: Hook, agent: Agent) -> None:
    scene.agent(replace=True)
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]
    ok(agent.client.acting_as(scene.user.token).post("/api/agents/agent-1/heartbeat", {"status": "disconnected"}))
    scene.agent(replace=True)
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_news_whose_message_is_lost_are_told_by_way_of_the_sweep(
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


def test_news_are_told_once_however_often_their_message_comes(
    scene: Scene, hook: Hook, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.meanwhile("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert told(hook) == ["agent.active"]


def test_news_that_come_while_others_are_told_are_told_too(
    scene: Scene, hook: Hook, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.meanwhile("TransactWriteItems", lambda: agent.beat(status="disconnected")):
        assert handlers.batch("announce_events", *messages) == []
    hooks.announced(scene)
    assert told(hook) == ["agent.active", "agent.inactive"]


def test_much_news_of_one_agent_is_told_in_several_transactions(scene: Scene, hook: Hook, agent: Agent) -> None:
    for _ in range(3):
        ok(agent.beat(status="disconnected"))
        ok(agent.beat(status="ready"))
    assert len(news()) == 7 > event_publisher.EVENTS_PER_TRANSACTION
    with wire.recorded() as sent:
        hooks.announced(scene)
    assert told(hook) == ["agent.active", *["agent.inactive", "agent.active"] * 3]
    writes = [request for request in sent if request.operation == "TransactWriteItems"]
    assert [len(request.params["TransactItems"]) for request in writes] == [3, 3, 3, 2]


def test_an_agent_removed_before_its_news_were_told_takes_none_along(scene: Scene, hook: Hook, agent: Agent) -> None:
    assert news() == ["active"]
    ok(scene.user.delete("/api/agents/agent-1"))
    assert invariants.rows("agents") == []
    assert told(hook) == ["agent.active"]


def test_an_agent_whose_removal_was_cut_short_goes_once_its_news_are_told(
    scene: Scene, hook: Hook, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    with faults.died(2), pytest.raises(faults.Died):
        scene.user.delete("/api/agents/agent-1")
    assert news() == ["active"]
    clock.advance(61)
    poller.sweep()
    assert invariants.rows("agents") == []
    assert told(hook) == ["agent.active"]


def test_an_agent_that_came_while_a_sweep_marked_it_silent_is_not_told_of_as_gone(
    scene: Scene, hook: Hook, agent: Agent, passing: Passing
) -> None:
    silent = faults.about("devflow-local-agents", "SET")
    with faults.meanwhile("UpdateItem", lambda: ok(agent.beat()), when=silent):
        passing(5)
    hooks.announced(scene)
    assert told(hook) == ["agent.active"]


def test_an_agent_that_is_gone_has_nothing_to_tell(scene: Scene, handlers: Handlers, owner: str) -> None:
    assert handlers.batch("announce_events", {"owner": owner, "agent": "never-was"}) == []


# Everything together.


def deliver_all(scene: Scene, queue: Queue, clock: Clock, rounds: int) -> None:
    for _ in range(rounds):
        hooks.announced(scene)
        queue.deliver()
        clock.advance(61)
        queue.sweep()


def by_event(got: list[Got]) -> dict[tuple[str, str], set[str]]:
    """The ids under which each event of each task came."""
    came: dict[tuple[str, str], set[str]] = {}
    for each in got:
        payload = each.json()
        about = payload["data"].get("taskId") or payload["data"]["agentId"]
        came.setdefault((payload["event"], about), set()).add(each.id)
    return came


def test_what_a_user_sees_of_a_webhook_is_what_arrived(
    scene: Scene, agent: Agent, receiver: Receiver, queue: Queue, clock: Clock, user: Client
) -> None:
    hook = hooks.make(user, receiver.url)
    ok(agent.complete(scene.running(agent)))
    deliver_all(scene, queue, clock, 2)
    arrived = {got.id: got.json() for got in receiver.got}
    assert {each["id"]: each["payload"] for each in hook.deliveries()} == arrived
    assert set(by_event(receiver.got)) == {
        ("agent.active", "agent-1"),
        ("task.created", "task-1"),
        ("task.started", "task-1"),
        ("task.completed", "task-1"),
    }
