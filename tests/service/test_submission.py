"""Submissions in unusual situations: reached limits, reused idempotency keys, removed agents."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes

WORK = {"intent": "fix-bug", "repo": "r", "naturalLanguage": "Do it"}


@pytest.mark.parametrize("who", ["user", "agent"])
def test_open_tasks_per_user_are_limited(
    scenario: Scenario, agent: Agent, set_limits: Callable[..., None], who: str
) -> None:
    set_limits(open_tasks_per_user=2)
    scenario.queue_tasks("task-1", "task-2")
    scenario.poller.drain()
    client = scenario.user if who == "user" else agent.client
    response = client.post("/api/workflows/execute", WORK | {"taskId": "task-3"})
    assert refused(response, 429)["error"] == "Too many open tasks"
    assert response.header("Retry-After") == "60"
    assert len(invariants.heads()) == 2
    repo = {"repo": "https://example.com/r", "naturalLanguage": "Do it"}
    for _ in range(2):  # repeating the request that created a task succeeds: its response may have been lost
        ok(client.post("/api/workflows/execute", {"taskId": "task-1", "intent": "fix-bug"} | repo), 202)
    assert agent.claims(limit=1) == ["task-1"]
    ok(agent.complete("task-1"))
    scenario.poller.drain()
    ok(client.post("/api/workflows/execute", WORK | {"taskId": "task-3"}), 202)


def test_agents_per_user_are_limited(scenario: Scenario, set_limits: Callable[..., None]) -> None:
    set_limits(agents_per_user=2)
    scenario.agent("agent-1")
    scenario.agent("agent-2")
    body = {"agentId": "agent-3", "name": "n", "version": "1"}
    refused(scenario.user.post("/api/agents", body), 409)
    refused(scenario.user.post("/api/agents", body | {"replace": True}), 409)
    ok(scenario.user.delete("/api/agents/agent-1"))
    ok(scenario.user.post("/api/agents", body), 201)


def test_idempotency_key_can_be_reused_after_a_day(scenario: Scenario, clock: Clock) -> None:
    def submit(**work: Any) -> Any:
        return scenario.user.post("/api/tasks", WORK | work, Idempotency_Key="key-1")

    first = ok(submit(), 202)["taskId"]
    clock.advance(86_399)
    assert ok(submit(), 202)["taskId"] == first
    clock.advance(2)
    second = ok(submit(naturalLanguage="Something else"), 202)["taskId"]
    assert second != first
    assert ok(submit(naturalLanguage="Something else"), 202)["taskId"] == second
    refused(submit(), 409)


def test_task_can_only_be_pinned_to_an_existing_agent_of_the_user(
    scenario: Scenario, agent: Agent, other: Scenario
) -> None:
    other.agent("theirs")
    for unknown in ("never-was", "theirs"):
        refused(scenario.user.post("/api/tasks", WORK | {"agentId": unknown}), 404, "Agent not found")
    assert invariants.heads() == []
    assert len(invariants.rows("agents")) == 2


@pytest.mark.parametrize("capabilities", [[], ["feature"], ["fix-bug-2", "fix", "FIX-BUG"]])
def test_task_cannot_be_pinned_to_an_agent_that_does_not_accept_its_intent(
    scenario: Scenario, capabilities: list[str]
) -> None:
    agent = scenario.agent(capabilities=capabilities)
    named = {"taskId": "task-1", "agentId": "agent-1"}
    for response in (
        scenario.user.post("/api/tasks", WORK | {"agentId": "agent-1"}),
        scenario.user.post("/api/tasks", WORK | {"agentId": "agent-1"}, Idempotency_Key="key-1"),
        scenario.user.post("/api/workflows/execute", WORK | named),
        agent.client.post("/api/workflows/execute", WORK | named),
    ):
        error = refused(response, 400, "Invalid request")
        assert "agent-1" in error["message"]
        assert "fix-bug" in error["message"]
    assert invariants.heads() == []


def test_agent_that_drops_the_intent_during_a_submission_gets_no_task(scenario: Scenario, agent: Agent) -> None:
    """The check is part of the transaction that accepts the task."""
    with faults.interleaved("TransactWriteItems", lambda: ok(agent.heartbeat(capabilities=["feature"]))):
        refused(scenario.user.post("/api/tasks", WORK | {"agentId": "agent-1"}), 400)
    assert invariants.heads() == []


def test_repeated_pinned_submission_succeeds_after_the_agent_dropped_the_intent(
    scenario: Scenario, agent: Agent
) -> None:
    """The task was accepted. The client did not receive the response."""

    def submit() -> Any:
        return ok(scenario.user.post("/api/tasks", WORK | {"agentId": "agent-1"}, Idempotency_Key="key-1"), 202)

    first = submit()
    ok(agent.heartbeat(capabilities=["feature"]))
    assert submit() == first
    assert len(invariants.heads()) == 1


def test_task_whose_agent_dropped_the_intent_cannot_be_retried(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, agentId="agent-1")
    ok(agent.fail("task-1"))
    ok(agent.heartbeat(capabilities=["feature"]))
    error = refused(scenario.user.post("/api/tasks/task-1/retry"), 400, "Invalid request")
    assert "agent-1 does not accept the intent fix-bug" in error["message"]
    ok(agent.heartbeat(capabilities=["feature", "fix-bug"]))
    ok(scenario.user.post("/api/tasks/task-1/retry"), 202)


def test_task_pinned_to_a_removed_agent_cannot_be_retried(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, agentId="agent-1")
    ok(agent.fail("task-1"))
    ok(scenario.user.delete("/api/agents/agent-1"))
    refused(scenario.user.post("/api/tasks/task-1/retry"), 404, "Agent not found")


def delete_agent_row(agent: str) -> None:
    """Delete an agent's row directly, without the steps of a removal."""
    (row,) = [row for row in invariants.rows("agents") if row["agent"] == agent]
    key = {"owner": {"S": row["owner"]}, "agent": {"S": agent}}
    boto3.client("dynamodb").delete_item(TableName="devflow-local-agents", Key=key)
    users = {"owner": {"S": row["owner"]}}
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-users",
        Key=users,
        UpdateExpression="ADD agents :less",
        ExpressionAttributeValues={":less": {"N": "-1"}},
    )


@pytest.mark.parametrize(("pinned", "status"), [(None, "queued"), ("agent-1", "failed")])
def test_claim_of_an_agent_with_a_deleted_row_expires(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes, pinned: str | None, status: str
) -> None:
    scenario.claim_task(agent, agentId=pinned)
    delete_agent_row("agent-1")
    pass_minutes(2)
    assert scenario.task_status() == status


def test_task_of_an_agent_with_a_deleted_row_can_be_cancelled(
    scenario: Scenario, agent: Agent, poller: EventPoller
) -> None:
    scenario.start_task(agent)
    delete_agent_row("agent-1")
    ok(scenario.user.post("/api/tasks/task-1/cancel"))
    assert scenario.get_task()["cancelRequested"] is True


def test_sweep_reads_a_claim_again_if_it_changes_meanwhile(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    scenario.claim_task(agent)
    delete_agent_row("agent-1")
    clock.advance(61)
    is_first = iter([False])

    def is_second(_: dict[str, Any]) -> bool:
        return next(is_first, True)

    def cancel() -> None:
        ok(scenario.user.post("/api/tasks/task-1/cancel"))

    with faults.interleaved("TransactWriteItems", cancel, when=is_second):
        poller.sweep()
    assert scenario.event_types() == ["created", "queued", "assigned", "cancelled"]


def test_log_of_a_failure_is_appended_after_a_concurrent_chunk(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)

    def chunk() -> None:
        ok(agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "first\n"}))

    with faults.interleaved("TransactWriteItems", chunk, when=faults.about("lastLog")):
        ok(agent.fail("task-1", logs="last\n"))
    assert ok(scenario.user.get("/api/tasks/task-1/logs"))["data"] == "first\nlast\n"
