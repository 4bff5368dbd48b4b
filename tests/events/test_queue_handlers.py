"""The functions behind the queues. Messages may be late, repeated, without their row, or unknown."""

from typing import Any

import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.events.conftest import bodies, delete
from tests.http.scenario import Agent, Scenario, ok
from tests.service import faults, invariants
from tests.support import aws_requests, moto_aws
from tests.support.handlers import Handlers

UNKNOWN_MESSAGES: list[Any] = [
    "",
    "not json",
    "[]",
    "null",
    {},
    {"owner": "user-1"},
    {"owner": "user-1", "task": None},
    {"owner": "user-1", "task": "a/b"},
    {"owner": "~", "task": "task-1"},
]


def test_message_of_an_accepted_task_contains_only_ids_and_queues_the_task(
    scenario: Scenario, handlers: Handlers, owner: str
) -> None:
    scenario.submit(naturalLanguage="a secret plan", context={"more": "secrets"})
    assert bodies("workflow") == [{"owner": owner, "task": "task-1"}]
    assert scenario.task_status() == "pending"
    assert handlers.batch("run_workflows", *bodies("workflow")) == []
    assert scenario.task_status() == "queued"


def test_batch_of_messages_is_handled(scenario: Scenario, handlers: Handlers) -> None:
    for number in range(10):
        scenario.submit(f"task-{number}")
    assert handlers.batch("run_workflows", *bodies("workflow")) == []
    assert {scenario.task_status(f"task-{number}") for number in range(10)} == {"queued"}


def test_unknown_message_is_dropped_and_the_others_are_handled(
    scenario: Scenario, handlers: Handlers, owner: str
) -> None:
    """It can never succeed. Retries would only move it to the dead-letter queue."""
    scenario.submit()
    messages = [*UNKNOWN_MESSAGES, {"owner": owner, "task": "task-1", "newer": "field"}]
    assert handlers.batch("run_workflows", *messages) == []
    assert scenario.task_status() == "queued"


def test_only_the_failed_message_of_a_batch_is_reported(
    scenario: Scenario, handlers: Handlers, owner: str, no_pauses: None
) -> None:
    for task in ("task-0", "task-1", "task-2"):
        scenario.submit(task)
    messages = [{"owner": owner, "task": f"task-{number}"} for number in range(3)]
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=99, when=faults.about("task-1")):
        assert handlers.batch("run_workflows", *messages) == ["message-1"]
    assert [scenario.task_status(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    assert handlers.batch("run_workflows", messages[1]) == []
    assert scenario.task_status("task-1") == "queued"


def test_message_for_a_missing_task_is_acknowledged(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    assert handlers.batch("run_workflows", {"owner": owner, "task": "never-was"}) == []
    assert handlers.batch("run_workflows", {"owner": "nobody", "task": "never-was"}) == []
    assert invariants.rows("tasks") == []


def test_repeated_or_late_message_changes_nothing(
    scenario: Scenario, agent: Agent, handlers: Handlers, owner: str
) -> None:
    message = {"owner": owner, "task": "task-1"}
    scenario.submit()
    for _ in range(2):
        assert handlers.batch("run_workflows", message, message) == []
    agent.commands()
    assert handlers.batch("run_workflows", message) == []
    ok(agent.complete("task-1"))
    assert handlers.batch("run_workflows", message) == []
    assert scenario.event_types() == ["created", "queued", "assigned", "completed"]


def test_concurrent_copies_of_a_message_queue_the_task_once(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    scenario.submit()
    message = {"owner": owner, "task": "task-1"}
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("run_workflows", message)):
        assert handlers.batch("run_workflows", message) == []
    assert scenario.event_types() == ["created", "queued"]


def test_task_cancelled_before_its_message_stays_cancelled(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    scenario.submit()
    ok(scenario.user.post("/api/tasks/task-1/cancel"))
    assert handlers.batch("run_workflows", {"owner": owner, "task": "task-1"}) == []
    assert scenario.event_types() == ["created", "cancelled"]


def test_task_pinned_to_a_removed_agent_fails_with_the_reason(
    scenario: Scenario, agent: Agent, handlers: Handlers, owner: str
) -> None:
    scenario.submit(agentId="agent-1")
    ok(scenario.user.delete("/api/agents/agent-1"))
    assert handlers.batch("run_workflows", {"owner": owner, "task": "task-1"}) == []
    assert (scenario.task_status(), scenario.get_task()["error"]) == ("failed", "Agent removed")


def test_task_whose_message_was_not_sent_is_queued_by_the_sweep(
    scenario: Scenario, clock: Clock, poller: EventPoller, frozen_time: None, no_pauses: None
) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=9):
        scenario.submit()
    assert moto_aws.messages("workflow") == []
    clock.advance(59)
    poller.sweep()
    assert scenario.task_status() == "pending", "its message may still arrive"
    clock.advance(2)
    poller.sweep()
    assert moto_aws.messages("workflow") == []
    assert scenario.event_types() == ["created", "queued"]
    assert [message["task"] for message in bodies("events")] == ["task-1"], "of the event task.created"


def test_task_is_queued_while_all_queues_are_unreachable(scenario: Scenario, clock: Clock, poller: EventPoller) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=99):
        scenario.submit()
        for _ in range(3):
            clock.advance(61)
            poller.sweep()
    assert scenario.event_types() == ["created", "queued"]
    assert unsent() == [], "the sweep has published the event task.created"


def test_message_and_sweep_at_once_queue_a_task_once(
    scenario: Scenario, handlers: Handlers, clock: Clock, owner: str
) -> None:
    scenario.submit()
    clock.advance(61)
    message = {"owner": owner, "task": "task-1"}
    with faults.interleaved("TransactWriteItems", lambda: handlers.batch("run_workflows", message)) as fault:
        handlers.sweep()
    assert fault.affected
    assert scenario.event_types() == ["created", "queued"]


def test_pending_task_that_is_pinned_to_a_removed_agent_is_failed_by_the_sweep(
    scenario: Scenario, agent: Agent, handlers: Handlers, clock: Clock
) -> None:
    scenario.submit(agentId="agent-1")
    ok(scenario.user.delete("/api/agents/agent-1"))
    clock.advance(61)
    handlers.sweep()
    assert (scenario.task_status(), scenario.get_task()["error"]) == ("failed", "Agent removed")


def test_repeated_submission_sends_the_message_of_a_pending_task_again(scenario: Scenario) -> None:
    """The message may have been lost. The client does not have to wait for the sweep."""
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=9):
        scenario.submit()
    scenario.submit()
    assert len(moto_aws.messages("workflow")) == 1


# Events that must be published.


def open_tasks() -> int:
    (used,) = invariants.usage().values()
    return used["open"]


def unsent() -> list[str]:
    return [row["type"] for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]


def test_event_is_published_once_for_repeated_messages(
    scenario: Scenario, handlers: Handlers, poller: EventPoller
) -> None:
    scenario.submit()
    assert handlers.batch("run_workflows", *bodies("workflow")) == []
    messages = bodies("events")
    assert [message["task"] for message in messages] == ["task-1"]
    assert (open_tasks(), unsent()) == (1, ["task.created"])
    for _ in range(3):
        assert handlers.batch("announce_events", *messages, *messages) == []
    assert (open_tasks(), unsent()) == (1, [])


def test_publishing_the_end_of_a_task_decrements_the_open_tasks(
    scenario: Scenario, agent: Agent, poller: EventPoller
) -> None:
    scenario.start_task(agent)
    ok(agent.complete("task-1"))
    poller.drain()
    assert (open_tasks(), unsent()) == (0, [])


def test_concurrent_publications_of_an_end_count_once(scenario: Scenario, agent: Agent, handlers: Handlers) -> None:
    scenario.start_task(agent)
    scenario.queue_tasks("task-2")
    bodies("events")
    ok(agent.complete("task-1"))
    messages = bodies("events")
    publishes = faults.about("REMOVE")
    with faults.interleaved("UpdateItem", lambda: handlers.batch("announce_events", *messages), when=publishes) as both:
        assert handlers.batch("announce_events", *messages) == []
    assert both.affected
    assert open_tasks() == 1


def test_event_without_a_message_is_published_after_a_sweep(
    scenario: Scenario, handlers: Handlers, clock: Clock, poller: EventPoller
) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=99, when=faults.about("event")):
        scenario.queue_tasks()
    assert (bodies("events"), unsent()) == ([], ["task.created"])
    clock.advance(121)
    poller.sweep()
    poller.drain()
    assert (open_tasks(), unsent()) == (1, [])


def test_late_message_of_an_event_that_the_sweep_has_published_changes_nothing(
    scenario: Scenario, handlers: Handlers, clock: Clock, poller: EventPoller
) -> None:
    scenario.submit()
    handlers.batch("run_workflows", *bodies("workflow"))
    messages = bodies("events")
    clock.advance(121)
    poller.sweep()
    assert (bodies("events"), open_tasks(), unsent()) == (messages, 1, [])
    assert handlers.batch("announce_events", *messages) == []
    assert open_tasks() == 1


def test_concurrent_sweeps_publish_an_event_once(scenario: Scenario, handlers: Handlers, clock: Clock) -> None:
    scenario.submit()
    handlers.batch("run_workflows", *bodies("workflow"))
    clock.advance(121)
    with faults.interleaved("UpdateItem", handlers.sweep, when=faults.about("REMOVE")) as fault:
        handlers.sweep()
    assert fault.affected
    assert (open_tasks(), unsent()) == (1, [])


def test_event_of_a_deleted_user_is_published_without_error(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    scenario.submit()
    handlers.batch("run_workflows", *bodies("workflow"))
    delete("users", owner=owner)
    assert handlers.batch("announce_events", *bodies("events")) == []
    assert unsent() == []


@pytest.mark.parametrize("body", UNKNOWN_MESSAGES)
def test_unknown_message_of_the_events_queue_is_dropped(handlers: Handlers, body: Any) -> None:
    with aws_requests.recorded() as sent:
        assert handlers.batch("announce_events", body) == []
    assert sent == []


def test_message_for_a_missing_event_is_acknowledged(scenario: Scenario, handlers: Handlers, owner: str) -> None:
    message = {"owner": owner, "task": "task-1", "event": "E#0000000000000#0#001"}
    assert handlers.batch("announce_events", message) == []
