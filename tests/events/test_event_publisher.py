"""The event publisher: each event of a task or an agent creates one delivery for every webhook that selects it."""

from typing import Any

import pytest

from chalicelib.orchestration import event_publisher
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.events.conftest import bodies, delete
from tests.http.scenario import Agent, Scenario, ok
from tests.http.webhook_helpers import WebhookClient, WebhookQueue, create_webhook, publish_events
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes
from tests.support import aws_requests
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import ReceivedRequest, Receiver

URL = "http://localhost:9/"
"""Nothing listens at this URL. Most of these tests check the deliveries that were created, and deliver nothing."""


@pytest.fixture
def hook(scenario: Scenario) -> WebhookClient:
    return create_webhook(scenario.user, URL)


def delivered_events(hook: WebhookClient) -> list[str]:
    """The events of a webhook's deliveries, in the order of their sequence."""
    return [each["event"] for each in sorted(hook.deliveries(), key=lambda each: int(each["sequence"]))]


def payloads(hook: WebhookClient) -> dict[str, Any]:
    """The data of the deliveries, by event."""
    return {each["payload"]["event"]: each["payload"]["data"] for each in hook.deliveries()}


# The payloads.


def test_payloads_of_the_specification_are_sent_exactly(
    scenario: Scenario, agent: Agent, queue: WebhookQueue, receiver: Receiver, owner: str
) -> None:
    create_webhook(scenario.user, receiver.url, "task.created", "task.completed")
    scenario.start_task(agent)
    ok(agent.complete("task-1", prUrl="https://github.com/user/repo/pull/123"))
    publish_events(scenario)
    queue.deliver()
    created, completed = sorted(receiver.received, key=lambda request: int(request.headers["devflow-sequence"]))
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
            "completedAt": scenario.get_task()["completedAt"],
        },
    }
    assert [list(request.json()) for request in receiver.received] == [["event", "data"]] * 2
    assert [list(request.json()["data"]) for request in (created, completed)] == [
        ["taskId", "userId", "intent", "repo"],
        ["taskId", "status", "prUrl", "completedAt"],
    ]


def test_other_payloads_have_the_same_form(scenario: Scenario, agent: Agent, hook: WebhookClient, owner: str) -> None:
    scenario.start_task(agent, "task-1")
    started = scenario.get_task("task-1")
    ok(agent.fail("task-1", "It broke"))
    scenario.start_task(agent, "task-2")
    ok(agent.complete("task-2"))
    scenario.queue_tasks("task-3")
    ok(scenario.user.post("/api/tasks/task-3/cancel"))
    ok(agent.heartbeat(status="disconnected"))
    publish_events(scenario)
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
        "completedAt": scenario.get_task("task-1")["completedAt"],
    }
    assert found["task.cancelled"] == {
        "taskId": "task-3",
        "status": "cancelled",
        "error": None,
        "completedAt": scenario.get_task("task-3")["completedAt"],
    }
    assert found["task.completed"]["prUrl"] is None
    agent_response = scenario.get_agent()
    assert found["agent.inactive"] == {
        "agentId": "agent-1",
        "userId": owner,
        "name": "agent-1",
        "status": "inactive",
        "lastHeartbeat": agent_response["lastHeartbeat"],
        "changedAt": agent_response["lastHeartbeat"],
    }
    assert found["agent.active"]["status"] == "active"


def test_sequence_orders_the_webhooks_of_a_task(scenario: Scenario, agent: Agent, hook: WebhookClient) -> None:
    scenario.start_task(agent)
    ok(agent.complete("task-1"))
    messages = bodies("events")
    for message in reversed(messages):  # published in the wrong order
        Handlers(scenario.poller._app).batch("announce_events", message)
    task_events = [event for event in delivered_events(hook) if event.startswith("task.")]
    assert task_events == ["task.created", "task.started", "task.completed"]


# Tasks.


def test_event_creates_one_delivery_for_repeated_messages(
    scenario: Scenario, hook: WebhookClient, handlers: Handlers
) -> None:
    scenario.queue_tasks()
    messages = bodies("events")
    for _ in range(3):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert delivered_events(hook) == ["task.created"]


def test_concurrent_publications_create_one_delivery(
    scenario: Scenario, hook: WebhookClient, handlers: Handlers
) -> None:
    scenario.queue_tasks()
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages) == []
    assert delivered_events(hook) == ["task.created"]


def test_webhook_gets_only_selected_events_of_its_user(
    scenario: Scenario, hook: WebhookClient, agent: Agent, make_user: Any, poller: EventPoller
) -> None:
    other = Scenario(make_user("other@example.com"), poller)
    other_hook = create_webhook(other.user, URL)
    failures = create_webhook(scenario.user, URL, "task.failed")
    both = create_webhook(scenario.user, URL, "task.created", "task.failed")
    ok(agent.fail(scenario.start_task(agent)))
    publish_events(scenario)
    assert delivered_events(failures) == ["task.failed"]
    assert delivered_events(both) == ["task.created", "task.failed"]
    assert [event for event in delivered_events(hook) if event.startswith("task.")] == [
        "task.created", "task.started", "task.failed",
    ]  # fmt: skip
    assert delivered_events(other_hook) == []


def test_event_of_a_user_without_webhooks_is_one_write(
    scenario: Scenario, handlers: Handlers, hook: WebhookClient
) -> None:
    ok(scenario.user.delete(hook.path))
    scenario.queue_tasks()
    with aws_requests.recorded() as sent:
        handlers.batch("announce_events", *bodies("events"))
    assert [(request.operation, request.tables[0].rpartition("-")[2]) for request in sent] == [
        ("GetItem", "tasks"),
        ("Query", "webhooks"),
        ("UpdateItem", "tasks"),
    ]


def test_end_of_a_task_costs_two_more_requests_without_webhooks(
    scenario: Scenario, agent: Agent, handlers: Handlers, hook: WebhookClient
) -> None:
    """One reads the event with its task, and one counts the end. No transaction is needed."""
    ok(scenario.user.delete(hook.path))
    scenario.start_task(agent)
    ok(agent.complete("task-1"))
    messages = [message for message in bodies("events") if "#completed#" in message.get("event", "")]
    with aws_requests.recorded() as sent:
        handlers.batch("announce_events", *messages)
    assert [(request.operation, request.tables[0].rpartition("-")[2]) for request in sent] == [
        ("BatchGetItem", "tasks"),
        ("Query", "webhooks"),
        ("UpdateItem", "tasks"),
        ("UpdateItem", "tasks"),
    ]


def test_end_of_a_task_that_has_expired_is_counted(
    scenario: Scenario, handlers: Handlers, hook: WebhookClient, owner: str
) -> None:
    scenario.queue_tasks()
    ok(scenario.user.post("/api/tasks/task-1/cancel"))
    messages = bodies("events")
    delete("tasks", pk=f"{owner}#task-1", sk="H")
    assert handlers.batch("announce_events", *messages, *messages) == []
    assert [used["open"] for used in invariants.usage().values()] == [0]
    assert delivered_events(hook) == []


def test_event_of_a_deleted_task_creates_no_delivery_and_ends(
    scenario: Scenario, hook: WebhookClient, handlers: Handlers, owner: str
) -> None:
    scenario.queue_tasks()
    messages = bodies("events")
    delete("tasks", pk=f"{owner}#task-1", sk="H")
    assert handlers.batch("announce_events", *messages) == []
    assert delivered_events(hook) == []
    assert not [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    delete("users", owner=owner)  # its count of open tasks still includes the deleted task


# Agents. Their status events are stored on their row, so a heartbeat costs no additional request.


def unpublished() -> list[str]:
    """The stored status events of the only agent that are not published yet."""
    (row,) = invariants.rows("agents")
    return [each["event"].removeprefix("agent.") for each in row.get("news", [])]


def test_status_events_of_an_agent_that_becomes_silent_are_published(
    scenario: Scenario, hook: WebhookClient, agent: Agent, pass_minutes: PassMinutes, poller: EventPoller
) -> None:
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active"]
    pass_minutes(5)
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive"]
    ok(agent.heartbeat())
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive", "agent.active"]
    for _ in range(3):
        ok(agent.heartbeat(status="ready"))
        ok(agent.poll())
    publish_events(scenario)
    assert len(delivered_events(hook)) == 3
    assert unpublished() == []


def test_status_events_of_an_agent_that_disconnects_are_published(
    scenario: Scenario, hook: WebhookClient, agent: Agent
) -> None:
    ok(agent.heartbeat(status="disconnected"))
    ok(agent.heartbeat(status="disconnected"))
    ok(agent.poll())
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_agent_that_returns_in_error_is_published_as_active_with_error(
    scenario: Scenario, hook: WebhookClient, agent: Agent
) -> None:
    ok(agent.heartbeat(status="error"))
    ok(agent.heartbeat(status="ready"))
    ok(agent.heartbeat(status="disconnected"))
    ok(agent.heartbeat(status="error"))
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive", "agent.active"]
    assert hook.deliveries()[0]["payload"]["data"]["status"] == "error"


def test_replaced_agent_is_published_only_if_it_was_inactive(
    scenario: Scenario, hook: WebhookClient, agent: Agent
) -> None:
    scenario.agent(replace=True)
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active"]
    ok(agent.client.acting_as(scenario.user.token).post("/api/agents/agent-1/heartbeat", {"status": "disconnected"}))
    scenario.agent(replace=True)
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive", "agent.active"]


def test_status_event_with_a_lost_message_is_published_after_a_sweep(
    scenario: Scenario, hook: WebhookClient, clock: Clock, poller: EventPoller
) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=99):
        agent = scenario.agent()
    assert (bodies("events"), unpublished()) == ([], ["active"])
    clock.advance(61)
    ok(agent.heartbeat())  # this moves the next check of the agent, but not the publication of its event
    poller.sweep()
    assert (delivered_events(hook), unpublished()) == (["agent.active"], [])
    assert bodies("events") == []


def test_status_event_is_published_once_for_repeated_messages(
    scenario: Scenario, hook: WebhookClient, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("announce_events", *messages)):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert delivered_events(hook) == ["agent.active"]


def test_status_event_during_another_publication_is_published_too(
    scenario: Scenario, hook: WebhookClient, agent: Agent, handlers: Handlers
) -> None:
    messages = bodies("events")
    with faults.interleaved("TransactWriteItems", lambda: agent.heartbeat(status="disconnected")):
        assert handlers.batch("announce_events", *messages) == []
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", "agent.inactive"]


def test_many_status_events_are_published_in_several_transactions(
    scenario: Scenario, hook: WebhookClient, agent: Agent
) -> None:
    for _ in range(3):
        ok(agent.heartbeat(status="disconnected"))
        ok(agent.heartbeat(status="ready"))
    assert len(unpublished()) == 7 > event_publisher.EVENTS_PER_TRANSACTION
    with aws_requests.recorded() as sent:
        publish_events(scenario)
    assert delivered_events(hook) == ["agent.active", *["agent.inactive", "agent.active"] * 3]
    writes = [request for request in sent if request.operation == "TransactWriteItems"]
    assert [len(request.params["TransactItems"]) for request in writes] == [3, 3, 3, 2]


def test_status_events_are_published_before_the_agent_is_deleted(
    scenario: Scenario, hook: WebhookClient, agent: Agent
) -> None:
    assert unpublished() == ["active"]
    ok(scenario.user.delete("/api/agents/agent-1"))
    assert invariants.rows("agents") == []
    assert delivered_events(hook) == ["agent.active"]


def test_agent_of_an_interrupted_removal_is_deleted_after_its_status_events(
    scenario: Scenario, hook: WebhookClient, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    with faults.killed_after_write(2), pytest.raises(faults.ProcessKilled):
        scenario.user.delete("/api/agents/agent-1")
    assert unpublished() == ["active"]
    clock.advance(61)
    poller.sweep()
    assert invariants.rows("agents") == []
    assert delivered_events(hook) == ["agent.active"]


def test_agent_that_checks_in_while_a_sweep_marks_it_stays_active(
    scenario: Scenario, hook: WebhookClient, agent: Agent, pass_minutes: PassMinutes
) -> None:
    marking = faults.about("devflow-local-agents", "SET")
    with faults.interleaved("UpdateItem", lambda: ok(agent.heartbeat()), when=marking):
        pass_minutes(5)
    publish_events(scenario)
    assert delivered_events(hook) == ["agent.active"]


def test_message_for_a_missing_agent_is_acknowledged(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    assert handlers.batch("announce_events", {"owner": owner, "agent": "never-was"}) == []


# From an event to the receiver.


def deliver_all(scenario: Scenario, queue: WebhookQueue, clock: Clock, rounds: int) -> None:
    for _ in range(rounds):
        publish_events(scenario)
        queue.deliver()
        clock.advance(61)
        queue.sweep()


def ids_by_event(requests: list[ReceivedRequest]) -> dict[tuple[str, str], set[str]]:
    """The ids of the received webhooks, by their event and the id of their task or agent."""
    ids: dict[tuple[str, str], set[str]] = {}
    for request in requests:
        payload = request.json()
        subject = payload["data"].get("taskId") or payload["data"]["agentId"]
        ids.setdefault((payload["event"], subject), set()).add(request.id)
    return ids


def test_listed_deliveries_equal_the_received_webhooks(
    scenario: Scenario, agent: Agent, receiver: Receiver, queue: WebhookQueue, clock: Clock, user: Client
) -> None:
    hook = create_webhook(user, receiver.url)
    ok(agent.complete(scenario.start_task(agent)))
    deliver_all(scenario, queue, clock, 2)
    received = {request.id: request.json() for request in receiver.received}
    assert {each["id"]: each["payload"] for each in hook.deliveries()} == received
    assert set(ids_by_event(receiver.received)) == {
        ("agent.active", "agent-1"),
        ("task.created", "task-1"),
        ("task.started", "task-1"),
        ("task.completed", "task-1"),
    }
