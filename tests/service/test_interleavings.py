"""Promises 2, 3 and 4 of docs/states.md under concurrency.

In each test one caller acts after another caller has made its decision and before that caller has written it.
"""

import itertools
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from chalicelib.auth import tokens
from chalicelib.core import clock as server_clock
from chalicelib.tasks import reports
from chalicelib.tasks.requests import ProgressReport
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes


def cancel_task(scenario: Scenario, task: str = "task-1") -> Callable[[], Any]:
    return lambda: ok(scenario.user.post(f"/api/tasks/{task}/cancel"))


def remove_agent(scenario: Scenario, agent: str = "agent-1") -> Callable[[], Any]:
    return lambda: ok(scenario.user.delete(f"/api/agents/{agent}"))


def test_cancel_during_first_progress_finds_the_task_running(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent)
    with faults.interleaved("TransactWriteItems", lambda: ok(agent.progress("task-1"))):
        response = ok(scenario.user.post("/api/tasks/task-1/cancel"))
    assert (response["status"], response["cancelRequested"]) == ("in_progress", True)
    assert ok(agent.progress("task-1"))["cancelRequested"] is True


def test_first_progress_during_cancel_is_rejected(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent)
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        refused(agent.progress("task-1"), 409)
    assert scenario.event_types() == ["created", "queued", "assigned", "cancelled"]


def test_progress_during_cancel_request_returns_the_request(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    with faults.interleaved("TransactWriteItems", cancel_task(scenario), when=faults.about("task.step")):
        assert ok(agent.progress("task-1", step="Building"))["cancelRequested"] is True
    assert ok(agent.heartbeat())["cancel"] == ["task-1"]


def test_complete_during_cancel_request_succeeds(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        assert ok(agent.complete("task-1"))["status"] == "completed"


def test_fail_during_cancel_request_cancels_the_task(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        assert ok(agent.fail("task-1"))["status"] == "cancelled"


def test_cancel_during_complete_is_rejected(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    with faults.interleaved("TransactWriteItems", lambda: ok(agent.complete("task-1"))):
        refused(scenario.user.post("/api/tasks/task-1/cancel"), 409)
    assert scenario.task_status() == "completed"


def test_poll_during_cancel_returns_the_other_tasks(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks("task-1", "task-2")
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        assert agent.claims() == ["task-2"]
    assert scenario.task_status("task-1") == "cancelled"


def test_poll_returns_the_other_claims_if_one_is_cancelled_meanwhile(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent, "task-1")
    scenario.claim_task(agent, "task-2")
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        assert agent.claims() == ["task-2"]


def test_poll_is_empty_if_its_only_claim_is_cancelled_meanwhile(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent)
    with faults.interleaved("TransactWriteItems", cancel_task(scenario)):
        assert agent.claims() == []


def test_task_cancelled_between_claim_and_response_is_not_returned(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks()
    with faults.interleaved("BatchGetItem", cancel_task(scenario)):
        assert agent.claims() == []


def test_poll_during_removal_of_the_agent_claims_nothing(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks()
    with faults.interleaved("TransactWriteItems", remove_agent(scenario)):
        assert agent.claims() == []
    assert scenario.task_status() == "queued"


def test_concurrent_polls_of_one_agent_respect_its_concurrency(scenario: Scenario) -> None:
    agent = scenario.agent(concurrency=2)
    scenario.queue_tasks(*[f"task-{number}" for number in range(6)])
    claimed: list[str] = []
    with faults.interleaved("TransactWriteItems", lambda: claimed.extend(agent.claims())):
        agent.claims()
    assert len(claimed) == 2
    assert sorted(agent.claims()) == sorted(claimed) == scenario.get_agent()["holding"]


def test_concurrent_polls_of_one_agent_leave_no_slot_empty(scenario: Scenario) -> None:
    agent = scenario.agent(concurrency=3)
    scenario.queue_tasks(*[f"task-{number}" for number in range(6)])
    with faults.interleaved("TransactWriteItems", lambda: agent.claims(limit=1)):
        assert agent.claims() == ["task-0", "task-1", "task-2"]
    assert scenario.get_agent()["holding"] == ["task-0", "task-1", "task-2"]


@pytest.mark.parametrize("operation", ["TransactWriteItems", "BatchGetItem"])
@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (4, 3)])
def test_poll_during_a_first_progress_fills_the_slots(
    scenario: Scenario, operation: str, limit: int, expected: int
) -> None:
    """The claim of the previous poll starts while the poll renews it, or between the renewal and the response."""
    agent = scenario.agent(concurrency=4)
    tasks = [f"task-{number}" for number in range(8)]
    scenario.queue_tasks(*tasks)
    assert agent.claims(limit=1) == tasks[:1]
    with faults.interleaved(operation, lambda: ok(agent.progress(tasks[0]))):
        assert agent.claims(limit=limit) == tasks[1 : 1 + expected]
    assert scenario.get_agent()["holding"] == tasks[: 1 + expected]


def test_poll_that_always_meets_changed_claims_ends(scenario: Scenario) -> None:
    """What each try of the poll claims starts before the response. The poll gives up, and the next one continues."""
    agent = scenario.agent(concurrency=20)
    tasks = [f"task-{number:02}" for number in range(20)]
    scenario.queue_tasks(*tasks)
    started: list[str] = []

    def start_a_claim() -> None:
        claimed = [task for task in scenario.get_agent()["holding"] if task not in started]
        started.extend(claimed[:1])
        for task in claimed[:1]:
            ok(agent.progress(task))

    with faults.interleaved("BatchGetItem", start_a_claim, times=1_000):
        assert agent.claims(limit=1) == []
    assert 1 < len(started) < 10
    assert len(agent.claims(limit=1)) == 1


def hide_pinned_tasks() -> Any:
    """The index of the queue does not contain the pinned tasks of agent-1 yet."""

    def hide(response: dict[str, Any]) -> None:
        response["Items"] = []

    return faults.response_changed("Query", hide, times=999, when=faults.about("@agent-1"))


def test_pinned_task_is_found_although_its_index_entry_lags_for_minutes(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    """DynamoDB gives no bound for the lag of an index. It is long while the index is throttled."""
    scenario.queue_tasks(agentId="agent-1")
    with hide_pinned_tasks():
        for _ in range(30):
            clock.advance(30)
            assert agent.claims() == []
    clock.advance(10 * 60)
    for _ in range(200):  # each poll looks again by chance, with a probability of a tenth
        clock.advance(30)
        if agent.claims():
            break
    assert scenario.task_status() == "assigned"


def test_waiting_pinned_task_is_claimed_by_the_first_poll_with_a_free_slot(scenario: Scenario, clock: Clock) -> None:
    agent = scenario.agent(concurrency=1)
    scenario.start_task(agent, "running")
    scenario.queue_tasks("pinned", agentId="agent-1")
    for _ in range(20):
        clock.advance(30)
        assert agent.claims() == []
    ok(agent.complete("running"))
    assert agent.claims() == ["pinned"]


def test_pinned_task_found_again_is_claimed_by_the_first_poll_that_can(
    scenario: Scenario, agent: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a poll has found the lagging entry, the polls after it look for it every time."""
    chance = 0.999
    monkeypatch.setattr("random.random", lambda: chance)
    scenario.queue_tasks(agentId="agent-1")
    ok(agent.heartbeat(capabilities=["feature"]))
    with hide_pinned_tasks():
        clock.advance(61)
        assert agent.claims() == []
    assert agent.claims() == []
    chance = 0.0
    assert agent.claims() == [], "the agent does not accept the intent"
    chance = 0.999
    ok(agent.heartbeat(capabilities=["fix-bug"]))
    assert agent.claims() == ["task-1"]


def test_agents_with_a_stale_view_of_the_queue_claim_each_task_once(scenario: Scenario) -> None:
    """The index returns the same tasks to all agents, but the condition is on the task's row.

    An agent that loses too many conflicts gets a task with its next poll.
    """
    agents = [scenario.agent(f"agent-{number}", concurrency=1) for number in range(6)]
    scenario.queue_tasks(*[f"task-{number:02d}" for number in range(9)])
    first_items: list[dict[str, Any]] = []

    def stale(response: dict[str, Any]) -> None:
        first_items.extend(response["Items"] if not first_items else [])
        response["Items"] = list(first_items)
        response.pop("LastEvaluatedKey", None)

    with faults.response_changed("Query", stale, times=999, when=faults.about('"queue"')):
        claims = [agent.claims(limit=1) for agent in agents]
    claimed = [task for claim in claims for task in claim]
    assert len(claimed) == len(set(claimed)) >= 3
    assert all(scenario.task_status(task) == "assigned" for task in claimed)
    claimed_later = [task for agent in agents for task in agent.claims(limit=1)]
    assert len(claimed_later) == len(set(claimed_later)) == 6


def test_report_during_loss_of_the_task_is_rejected_and_changes_nothing(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.start_task(agent)
    replacement = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    with faults.interleaved("TransactWriteItems", lambda: ok(scenario.user.post("/api/agents", replacement), 201)):
        assert agent.complete("task-1").status == 401
    assert (scenario.task_status(), scenario.get_task()["attempt"]) == ("queued", 2)


@pytest.mark.parametrize("report", [{"summary": "Fixed"}, {}])
def test_equal_report_of_an_agent_that_lost_the_task_is_rejected(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes, report: dict[str, Any]
) -> None:
    """Two attempts may end with the same report. Each agent must know whether its own report counted."""
    scenario.start_task(agent)
    pass_minutes(5)
    pass_minutes(6)
    second = scenario.agent("agent-2")
    assert second.claims() == ["task-1"]
    ok(second.complete("task-1", **report))
    refused(agent.complete("task-1", **report), 409)
    ok(second.complete("task-1", **report))


def test_equal_report_of_an_agent_that_never_had_the_task_is_rejected(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    ok(agent.complete("task-1"))
    refused(scenario.agent("agent-2").complete("task-1"), 409)
    refused(scenario.agent("agent-3").fail("task-1", logs="not mine"), 409)


def test_one_of_two_different_concurrent_final_reports_succeeds(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    with faults.interleaved("TransactWriteItems", lambda: ok(agent.complete("task-1", summary="First"))):
        refused(agent.fail("task-1"), 409)
    assert (scenario.task_status(), scenario.get_task()["summary"]) == ("completed", "First")


def test_concurrent_equal_submissions_create_one_task(scenario: Scenario) -> None:
    with faults.interleaved("TransactWriteItems", scenario.submit):
        scenario.submit()
    assert scenario.event_types() == ["created"]


def test_one_of_two_different_concurrent_submissions_with_one_id_succeeds(scenario: Scenario) -> None:
    with faults.interleaved("TransactWriteItems", lambda: scenario.submit(naturalLanguage="First")):
        body = {"taskId": "task-1", "intent": "fix-bug", "repo": "r", "naturalLanguage": "Second"}
        refused(scenario.user.post("/api/workflows/execute", body), 409)
    assert scenario.get_task()["description"] == "First"


def test_concurrent_equal_registrations_create_one_agent(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scenario.user.post("/api/agents", body, Idempotency_Key="key-1")

    with faults.interleaved("TransactWriteItems", register):
        token = ok(register(), 201)["token"]
    assert ok(scenario.user.get("/api/agents"))["total"] == 1
    assert Agent("agent-1", scenario.user.acting_as(token)).poll().status == 200


def test_repeated_concurrent_registrations_return_a_valid_token(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scenario.user.post("/api/agents", body, Idempotency_Key="key-1")

    ok(register(), 201)
    with faults.interleaved("UpdateItem", register, when=faults.about("agent-1")):
        response = register()
    token = ok(response, 201)["token"]
    assert ok(scenario.user.get("/api/agents"))["total"] == 1
    assert Agent("agent-1", scenario.user.acting_as(token)).poll().status == 200


def test_repeated_registration_returns_503_if_the_agent_is_removed_meanwhile(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scenario.user.post("/api/agents", body, Idempotency_Key="key-1")

    ok(register(), 201)
    with faults.interleaved("UpdateItem", remove_agent(scenario), when=faults.about("agent-1")):
        refused(register(), 503)
    ok(register(), 201)


def test_repeated_registration_replaces_a_tombstone(scenario: Scenario) -> None:
    """The row of a removed agent stays while the index of its pinned tasks may be behind."""
    body = {"agentId": "agent-1", "name": "n", "version": "1"}
    ok(scenario.user.post("/api/agents", body, Idempotency_Key="key-1"), 201)
    scenario.queue_tasks(agentId="agent-1")
    ok(scenario.user.delete("/api/agents/agent-1"))
    assert len(invariants.rows("agents")) == 1
    token = ok(scenario.user.post("/api/agents", body, Idempotency_Key="key-1"), 201)["token"]
    assert Agent("agent-1", scenario.user.acting_as(token)).claims() == []
    assert scenario.get_agent()["status"] == "active"


def test_agent_marked_inactive_during_its_repeated_registration_is_active(
    scenario: Scenario, clock: Clock, poller: EventPoller
) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}
    ok(scenario.user.post("/api/agents", body, Idempotency_Key="key-1"), 201)
    clock.advance(10)
    poller.sweep()
    clock.advance(170)
    poller.sweep()
    clock.advance(60)
    with faults.interleaved("UpdateItem", poller.sweep, when=faults.about("agent-1", "ver")) as fault:
        repeated = ok(scenario.user.post("/api/agents", body, Idempotency_Key="key-1"), 201)
    assert fault.affected
    assert repeated["agent"]["status"] == scenario.get_agent()["status"] == "active"


def test_repeated_registration_that_always_conflicts_returns_503(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}

    def register() -> Any:
        return scenario.user.post("/api/agents", body, Idempotency_Key="key-1")

    def other_writer() -> None:
        version = {"S": str(next(versions))}
        update = {
            "TableName": "devflow-local-agents",
            "Key": {"owner": {"S": invariants.rows("agents")[0]["owner"]}, "agent": {"S": "agent-1"}},
            "UpdateExpression": "SET ver = :ver",
            "ExpressionAttributeValues": {":ver": version},
        }
        boto3.client("dynamodb").transact_write_items(TransactItems=[{"Update": update}])

    versions = itertools.count()
    ok(register(), 201)
    with faults.interleaved("UpdateItem", other_writer, times=99, when=faults.about("agent-1")):
        refused(register(), 503)
    ok(register(), 201)


def test_one_of_two_concurrent_replacements_of_an_agent_stays_valid(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    responses = []

    def replace(name: str) -> None:
        body = {"agentId": "agent-1", "name": name, "version": "1", "replace": True}
        responses.append((name, ok(scenario.user.post("/api/agents", body), 201)))

    with faults.interleaved("TransactWriteItems", lambda: replace("second"), when=faults.about("requeued")):
        replace("first")
    assert [response["agent"]["name"] for _, response in responses] == [name for name, _ in responses]
    statuses = [Agent("agent-1", scenario.user.acting_as(response["token"])).poll().status for _, response in responses]
    assert sorted(statuses) == [200, 401]


def test_agent_replaced_during_its_removal_exists_afterwards(scenario: Scenario, agent: Agent) -> None:
    replacement = {"agentId": "agent-1", "name": "replacement", "version": "1", "replace": True}
    with faults.interleaved("UpdateItem", remove_agent(scenario), when=faults.about("replacement")):
        ok(scenario.user.post("/api/agents", replacement), 201)
    assert scenario.get_agent()["name"] == "replacement"


def test_concurrent_removals_remove_an_agent_once(scenario: Scenario, agent: Agent) -> None:
    with faults.interleaved("UpdateItem", remove_agent(scenario), when=faults.about("removed")):
        assert scenario.user.delete("/api/agents/agent-1").status in (200, 404)
    assert invariants.rows("agents") == []


def test_restarted_process_is_not_rejected_as_a_second_instance(scenario: Scenario, agent: Agent) -> None:
    """It has registered with `replace`, so the previous process is already fenced."""
    ok(agent.heartbeat(instanceId="process-1"))
    body = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    token = ok(scenario.user.post("/api/agents", body), 201)["token"]
    ok(Agent("agent-1", scenario.user.acting_as(token)).heartbeat(instanceId="process-2"))


def test_next_instance_is_accepted_immediately_after_disconnect(scenario: Scenario, agent: Agent) -> None:
    ok(agent.heartbeat(instanceId="process-1"))
    ok(agent.heartbeat(instanceId="process-1", status="disconnected"))
    ok(agent.heartbeat(instanceId="process-2"))


def test_concurrent_log_chunks_are_both_appended(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)

    def append(offset: int, data: str) -> Any:
        return agent.client.post("/api/tasks/task-1/logs", {"offset": offset, "data": data})

    with faults.interleaved("TransactWriteItems", lambda: ok(append(0, "first\n"))):
        assert ok(append(0, "first\nsecond\n"))["nextOffset"] == 13
    assert ok(scenario.user.get("/api/tasks/task-1/logs"))["data"] == "first\nsecond\n"


def test_two_steps_in_one_millisecond_are_both_in_the_timeline(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    now = server_clock.now()
    caller = tokens.verify(agent.client.token, now)
    for step in ("Building", "Testing"):
        reports.report_progress(caller, "task-1", ProgressReport.model_validate({"progress": 0.5, "step": step}), now)
    assert scenario.event_types() == ["created", "queued", "assigned", "started", "step", "step"]


def test_calls_of_one_user_do_not_count_for_another(scenario: Scenario, other: Scenario, clock: Clock) -> None:
    """Both agents have the same id. After a transaction the count is the last one that this container has read."""
    clock.advance(60 - clock.now / 1_000 % 60)  # all calls are in one minute
    agent, agent_of_other = scenario.agent(), other.agent()
    scenario.start_task(agent)
    other.start_task(agent_of_other)
    for _ in range(7):
        ok(agent_of_other.progress("task-1"))
    response = agent.complete("task-1")
    assert ok(response)
    assert response.header("X-RateLimit-Remaining") == "998"


@pytest.mark.parametrize(
    ("who", "path", "body"),
    [
        ("agent", "progress", {"progress": 0.5, "step": "Building"}),
        ("agent", "complete", {"success": True}),
        ("user", "fail", {"error": "It broke", "logs": "line 1"}),
        ("agent", "logs", {"offset": 0, "data": "line 1"}),
        ("user", "cancel", None),
    ],
)
def test_request_that_always_conflicts_returns_503(
    scenario: Scenario, agent: Agent, who: str, path: str, body: dict[str, Any] | None
) -> None:
    """The condition on the task always fails. The response is 503, not 500."""
    scenario.start_task(agent)
    reasons = [{"Code": "ConditionalCheckFailed"}] * 4
    with faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=99):
        response = (agent.client if who == "agent" else scenario.user).post(f"/api/tasks/task-1/{path}", body)
    refused(response, 503)
    assert int(response.header("Retry-After") or 0) in (1, 2, 3), "with jitter"


def test_heartbeat_that_always_conflicts_returns_503(scenario: Scenario, agent: Agent) -> None:
    with faults.refused("UpdateItem", "ConditionalCheckFailedException", times=99, when=faults.about("agent-1")):
        refused(agent.heartbeat(), 503)


def test_pinned_task_fails_if_its_agent_is_removed_while_it_is_queued(
    scenario: Scenario, agent: Agent, poller: EventPoller
) -> None:
    scenario.submit(agentId="agent-1")
    with faults.interleaved("TransactWriteItems", remove_agent(scenario)):
        poller.drain()
    assert (scenario.task_status(), scenario.get_task()["error"]) == ("failed", "Agent removed")


def test_pinned_task_fails_if_its_agent_is_removed_while_its_claim_expires(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    scenario.claim_task(agent, agentId="agent-1")
    clock.advance(61)
    with faults.interleaved("TransactWriteItems", remove_agent(scenario)):
        poller.sweep()
    pass_minutes(3)
    assert scenario.task_status() == "failed"
    assert invariants.rows("agents") == []
