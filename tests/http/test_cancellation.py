"""Letter g of docs/states.md: a cancelled task stops and stays cancelled. Also the retry of a task that has ended."""

import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused


def test_task_that_has_not_started_is_cancelled_at_once(scenario: Scenario, agent: Agent) -> None:
    scenario.submit("pending")
    assert ok(scenario.user.post("/api/tasks/pending/cancel")) == {
        "success": True,
        "taskId": "pending",
        "status": "cancelled",
        "cancelRequested": False,
    }
    scenario.queue_tasks("queued")
    ok(scenario.user.post("/api/tasks/queued/cancel"))
    scenario.claim_task(agent, "assigned")
    ok(scenario.user.post("/api/tasks/assigned/cancel"))
    scenario.poller.drain()
    assert [scenario.task_status(task_id) for task_id in ("pending", "queued", "assigned")] == ["cancelled"] * 3
    assert agent.claims() == []
    refused(agent.progress("assigned"), 409, "Conflict")
    assert scenario.get_agent()["holding"] == []


def test_responses_ask_the_agent_to_stop_a_running_task(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    response = ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    assert (response["status"], response["cancelRequested"]) == ("in_progress", True)
    assert ok(agent.progress(task_id))["cancelRequested"] is True
    assert ok(agent.heartbeat())["cancel"] == [task_id]
    assert scenario.get_task()["cancelRequested"] is True


def test_completion_within_the_grace_period_wins(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    clock.advance(59)
    assert ok(agent.complete(task_id))["status"] == "completed"
    assert scenario.task_status() == "completed"


def test_failure_within_the_grace_period_becomes_cancelled(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    assert ok(agent.fail(task_id, "stopped"))["status"] == "cancelled"
    assert ok(agent.fail(task_id, "stopped"))["status"] == "cancelled"
    assert scenario.event_types()[-2:] == ["cancel_requested", "cancelled"]


@pytest.mark.parametrize("report", ["complete", "fail", "progress"])
def test_agent_is_fenced_after_the_grace_period_even_before_the_sweep(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, report: str
) -> None:
    task_id = scenario.start_task(agent)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    clock.advance(60)
    refused(getattr(agent, report)(task_id), 409)
    poller.sweep()
    assert scenario.task_status() == "cancelled"
    assert scenario.get_agent()["holding"] == []
    refused(getattr(agent, report)(task_id), 409)


def test_cancelling_twice_has_the_effect_of_once(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    clock.advance(30)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    clock.advance(31)
    refused(agent.complete(task_id), 409)
    assert scenario.event_types().count("cancel_requested") == 1


def test_completed_task_cannot_be_cancelled(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    ok(agent.complete(task_id))
    refused(scenario.user.post(f"/api/tasks/{task_id}/cancel"), 409, "Conflict")


def test_task_with_a_requested_cancel_is_not_retried_when_its_agent_is_lost(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scenario.start_task(agent)
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    ok(scenario.user.post("/api/agents", {"agentId": "agent-1", "name": "n", "version": "2", "replace": True}), 201)
    assert scenario.task_status(task_id) == "cancelled"


def test_agent_token_cannot_cancel_or_retry(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks()
    refused(agent.client.post("/api/tasks/task-1/cancel"), 403)
    refused(agent.client.post("/api/tasks/task-1/retry"), 403)


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_cancel_and_retry_of_another_users_task_return_404(scenario: Scenario, other: Scenario, verb: str) -> None:
    scenario.queue_tasks()
    refused(other.user.post(f"/api/tasks/task-1/{verb}"), 404, "Task not found")


def test_retry_creates_one_new_task_with_the_same_work(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent, context={"issueId": "1"}, priority=7)
    refused(scenario.user.post(f"/api/tasks/{task_id}/retry"), 409, "Conflict")
    ok(agent.fail(task_id))
    retry_id = ok(scenario.user.post(f"/api/tasks/{task_id}/retry"), 202)["taskId"]
    assert ok(scenario.user.post(f"/api/tasks/{task_id}/retry"), 202)["taskId"] == retry_id
    scenario.poller.drain()
    old, new = scenario.get_task(task_id), scenario.get_task(retry_id)
    assert new["retryOf"] == task_id
    assert new["status"] == "queued"
    assert new["attempt"] == 1
    same = ("intent", "repo", "branch", "description", "context", "priority", "timeoutSeconds", "maxAttempts")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert agent.claims() == [retry_id]
    assert len(ok(scenario.user.get("/api/tasks"))["data"]) == 2
