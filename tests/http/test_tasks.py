"""Tasks: submission, start, progress and end. Each happens once, also with repeated or foreign requests."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.scenario import INSTANT, Agent, Scenario, epoch, ok, refused, snapshot
from tests.support.client import Client

SPEC = {
    "taskId": "task-550e8400-e29b-41d4-a716-446655440000",
    "intent": "fix-bug",
    "repo": "https://github.com/user/repo",
    "branch": "main",
    "naturalLanguage": "Fix the null pointer exception in login flow",
}
WORK = {"intent": "fix-bug", "repo": "r", "naturalLanguage": "n"}
DAY = 24 * 3_600


# Submission.


def test_execute_response_and_stored_task_match_the_specification(scenario: Scenario, clock: Clock) -> None:
    response = scenario.user.post("/api/workflows/execute", SPEC)
    assert ok(response, 202) == {"accepted": True, "taskId": SPEC["taskId"]}
    task = scenario.get_task(str(SPEC["taskId"]))
    assert {name: task[name] for name in ("id", "intent", "repo", "branch", "description")} == {
        "id": SPEC["taskId"],
        "intent": SPEC["intent"],
        "repo": SPEC["repo"],
        "branch": SPEC["branch"],
        "description": SPEC["naturalLanguage"],
    }
    for name in ("agentId", "currentStep", "startedAt", "completedAt", "error", "summary", "output", "prUrl",
                 "resultFiles", "retryOf", "context", "details"):  # fmt: skip
        assert task[name] is None, name
    assert (task["status"], task["progress"], task["cancelRequested"]) == ("pending", 0, False)
    assert (task["attempt"], task["maxAttempts"]) == (1, 2)
    for name in ("createdAt", "updatedAt"):
        assert INSTANT.fullmatch(task[name])
        assert abs(epoch(task[name]) - clock.now / 1_000) < 30
    assert scenario.event_types(str(SPEC["taskId"])) == ["created"]


def test_task_becomes_claimable_when_its_message_is_handled(scenario: Scenario) -> None:
    scenario.queue_tasks()
    assert (scenario.task_status(), scenario.event_types()) == ("queued", ["created", "queued"])


def test_repeated_submission_returns_the_same_task_in_every_state(scenario: Scenario, agent: Agent) -> None:
    work: dict[str, Any] = {"context": {"b": 1, "a": [2]}, "priority": 3, "agentId": agent.id, "timeoutSeconds": 60}
    for advance in (
        lambda: None,
        scenario.run_workflows,
        agent.poll,
        lambda: ok(agent.progress("task-1")),
        lambda: ok(agent.complete("task-1")),
    ):
        advance()
        assert scenario.submit(**work, future="unknown") == "task-1"
    assert scenario.event_types() == ["created", "queued", "assigned", "started", "completed"]
    assert ok(scenario.user.get("/api/tasks"))["total"] == 1


CHANGES: list[dict[str, Any]] = [
    {"intent": "feature"}, {"repo": "other"}, {"branch": "b"}, {"naturalLanguage": "m"}, {"context": {}},
    {"context": {"a": 2}}, {"priority": 1}, {"timeoutSeconds": 60}, {"maxAttempts": 1},
]  # fmt: skip


def test_different_submission_with_the_same_id_returns_409(scenario: Scenario) -> None:
    work: dict[str, Any] = WORK | {"context": {"a": 1}}
    scenario.submit(**work)
    before = snapshot()["tasks"]
    for change in CHANGES:
        refused(scenario.user.post("/api/workflows/execute", {"taskId": "task-1"} | work | change), 409)
    assert snapshot()["tasks"] == before


def test_server_generates_an_id(scenario: Scenario) -> None:
    responses = [ok(scenario.user.post("/api/tasks", WORK), 202) for _ in range(2)]
    assert [set(response) for response in responses] == [{"accepted", "taskId"}] * 2
    assert responses[0]["taskId"] != responses[1]["taskId"]
    assert {scenario.task_status(response["taskId"]) for response in responses} == {"pending"}


def test_idempotency_key_identifies_one_task_and_conflicts_on_another_body(scenario: Scenario, other: Scenario) -> None:
    first = ok(scenario.user.post("/api/tasks", WORK, Idempotency_Key="k"), 202)["taskId"]
    assert ok(scenario.user.post("/api/tasks", WORK, Idempotency_Key="k"), 202)["taskId"] == first
    before = snapshot()["tasks"]
    refused(scenario.user.post("/api/tasks", WORK | {"repo": "other"}, Idempotency_Key="k"), 409)
    assert snapshot()["tasks"] == before
    assert ok(scenario.user.post("/api/tasks", WORK, Idempotency_Key="l"), 202)["taskId"] != first
    assert ok(other.user.post("/api/tasks", WORK, Idempotency_Key="k"), 202)["taskId"] != first
    assert ok(scenario.user.get("/api/tasks"))["total"] == 2


def test_agent_submits_a_task_to_itself(scenario: Scenario, agent: Agent) -> None:
    idle = scenario.agent("idle")
    ok(agent.client.post("/api/workflows/execute", SPEC), 202)
    ok(agent.client.post("/api/workflows/execute", SPEC), 202)
    ok(agent.client.post("/api/workflows/execute", SPEC | {"taskId": "task-2", "agentId": "agent-1"}), 202)
    scenario.run_workflows()
    assert idle.claims() == []
    assert agent.claims() == [SPEC["taskId"], "task-2"]


def test_agent_cannot_submit_a_task_to_another_agent(scenario: Scenario, agent: Agent) -> None:
    """Its token may be stolen by code that it runs, and must not run code on other machines."""
    scenario.agent("victim")
    before = snapshot()["tasks"]
    body = SPEC | {"agentId": "victim", "priority": 100}
    refused(agent.client.post("/api/workflows/execute", body), 403, "Insufficient permissions")
    refused(agent.client.post("/api/workflows/execute", body | {"agentId": "agent-of-nobody"}), 403)
    assert snapshot()["tasks"] == before


def test_pinning_to_an_unknown_agent_returns_404_and_stores_nothing(scenario: Scenario, other: Scenario) -> None:
    other.agent("theirs")
    before = snapshot()
    for agent in ("nobody", "theirs"):
        body = WORK | {"agentId": agent}
        refused(scenario.user.post("/api/workflows/execute", body | {"taskId": "t"}), 404, "Agent not found")
        refused(scenario.user.post("/api/tasks", body), 404, "Agent not found")
    assert snapshot() == before


# Progress.


def test_first_progress_starts_the_task_and_matches_the_specification(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    task_id = scenario.claim_task(agent)
    assert scenario.get_task(task_id)["startedAt"] is None
    clock.advance(30)
    report = {"status": "in_progress", "step": "Running test suite", "details": "Executed 45/65 tests", "attempt": 1}
    body = ok(agent.progress(task_id, 0.65, **report))
    assert body == {"success": True, "taskId": task_id, "message": "Progress updated", "cancelRequested": False}
    task = scenario.get_task(task_id)
    assert (task["status"], task["progress"], task["agentId"]) == ("in_progress", 0.65, agent.id)
    assert (task["currentStep"], task["details"]) == ("Running test suite", "Executed 45/65 tests")
    assert abs(epoch(task["startedAt"]) - clock.now / 1_000) < 10
    clock.advance(30)
    ok(agent.progress(task_id, 0.7))
    assert scenario.get_task(task_id)["startedAt"] == task["startedAt"]
    assert scenario.get_task(task_id)["updatedAt"] > task["updatedAt"]


def test_each_new_step_is_one_event(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    for step in ("one", "one", "two", None, "two", "one"):
        ok(agent.progress(task_id, 0.5, **({} if step is None else {"step": step})))
    events = ok(scenario.user.get(f"/api/tasks/{task_id}/events"))["data"]
    assert [(event["type"], event["detail"]) for event in events[3:]] == [
        ("task.started", "one"), ("task.step", "two"), ("task.step", "one"),
    ]  # fmt: skip
    assert {event["agentId"] for event in events[2:]} == {agent.id}
    assert {event["attempt"] for event in events} == {1}
    assert scenario.get_task(task_id)["currentStep"] == "one"


def test_progress_keeps_the_fields_that_it_omits(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    ok(agent.progress(task_id, 0.5, step="one", details="first"))
    ok(agent.progress(task_id, 0.6))
    task = scenario.get_task(task_id)
    assert (task["progress"], task["currentStep"], task["details"]) == (0.6, "one", "first")


# Final reports.


def test_completion_is_stored_and_matches_the_specification(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    clock.advance(30)
    report: dict[str, Any] = {
        "summary": "Fixed null pointer exception in auth service",
        "output": "Created PR #456 with fix and tests",
        "prUrl": "https://github.com/user/repo/pull/456",
        "resultFiles": {"commit": "abc123def456", "files": ["src/auth/login.ts", "tests/auth.test.ts"]},
    }
    assert ok(agent.complete(task_id, **report)) == {"success": True, "taskId": task_id, "status": "completed"}
    task = scenario.get_task(task_id)
    assert {name: task[name] for name in report} == report
    assert (task["status"], task["progress"], task["error"]) == ("completed", 1, None)
    assert abs(epoch(task["completedAt"]) - clock.now / 1_000) < 10
    assert scenario.event_types(task_id)[-1] == "completed"
    assert scenario.get_agent()["holding"] == []


def test_completion_without_success_fails_the_task(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    assert ok(agent.complete(task_id, success=False, summary="Tests are red"))["status"] == "failed"
    task = scenario.get_task(task_id)
    assert (task["status"], task["error"], task["summary"]) == ("failed", "Tests are red", "Tests are red")


def test_failure_is_stored_and_matches_the_specification(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    report = {"details": "Failed to authenticate with GitHub: invalid credentials", "logs": "...execution logs..."}
    response = agent.fail(task_id, "Repository clone failed", **report)
    assert ok(response) == {"success": True, "taskId": task_id, "status": "failed"}
    task = scenario.get_task(task_id)
    assert (task["status"], task["error"], task["details"]) == (
        "failed",
        "Repository clone failed",
        report["details"],
    )
    assert task["completedAt"] is not None
    assert agent.claims() == [], "a failure that an agent reports is not retried"


@pytest.mark.parametrize("report", [Agent.complete, Agent.fail])
def test_final_report_on_a_claim_starts_and_ends_the_task(
    scenario: Scenario, agent: Agent, report: Callable[..., Response]
) -> None:
    task_id = scenario.claim_task(agent)
    ok(report(agent, task_id))
    task = scenario.get_task(task_id)
    assert task["status"] == ("completed" if report is Agent.complete else "failed")
    assert None not in (task["startedAt"], task["completedAt"])
    assert scenario.event_types(task_id)[:3] == ["created", "queued", "assigned"]
    assert scenario.event_types(task_id)[-1] == task["status"]


REPORTS: list[Callable[[Agent], Response]] = [
    lambda agent: agent.complete("task-1", summary="s", resultFiles={"b": 1, "a": 2}, attempt=1),
    lambda agent: agent.complete("task-1", success=False, summary="s"),
    lambda agent: agent.fail("task-1", "e", details="d", logs="l"),
]
OTHERS: list[Callable[[Agent], Response]] = [
    *REPORTS,
    lambda agent: agent.complete("task-1"),
    lambda agent: agent.complete("task-1", summary="s"),
    lambda agent: agent.complete("task-1", summary="t", resultFiles={"b": 1, "a": 2}, attempt=1),
    lambda agent: agent.fail("task-1", "e"),
    lambda agent: agent.progress("task-1", 0.9),
]


@pytest.mark.parametrize(("which", "started"), [(0, True), (1, True), (2, True), (2, False)])
def test_repeated_final_report_succeeds_and_a_different_one_returns_409(
    scenario: Scenario, agent: Agent, which: int, *, started: bool
) -> None:
    (scenario.start_task if started else scenario.claim_task)(agent)
    first = ok(REPORTS[which](agent))
    before = snapshot()
    assert ok(REPORTS[which](agent)) == first
    assert snapshot() == before
    for other in OTHERS:
        if other is not REPORTS[which]:
            refused(other(agent), 409)
    assert snapshot() == before


def test_report_on_a_task_without_agent_returns_409(scenario: Scenario, agent: Agent) -> None:
    scenario.submit()
    for _ in range(2):
        before = snapshot()
        for reporter in (agent, agent.with_user_token(scenario.user)):
            for response in (reporter.progress("task-1"), reporter.complete("task-1"), reporter.fail("task-1")):
                refused(response, 409)
        assert snapshot() == before
        scenario.run_workflows()


def test_report_by_another_agent_returns_409_and_changes_nothing(scenario: Scenario, agent: Agent) -> None:
    another = scenario.agent("another")
    scenario.claim_task(agent)
    for advance in (
        lambda: None,
        lambda: ok(agent.progress("task-1")),
        lambda: ok(agent.complete("task-1", summary="s")),
    ):
        advance()
        scenario.run_workflows()
        before = snapshot()
        for report in OTHERS:
            refused(report(another), 409)
        assert snapshot() == before


def test_agent_reads_only_the_tasks_that_it_holds(scenario: Scenario, agent: Agent) -> None:
    another = scenario.agent("another")
    task_id = scenario.claim_task(agent)
    scenario.queue_tasks("queued")
    for _ in range(2):
        assert ok(agent.client.get(f"/api/tasks/{task_id}"))["id"] == task_id
        refused(another.client.get(f"/api/tasks/{task_id}"), 404, "Task not found")
        ok(agent.progress(task_id))
    for each in (agent, another):
        refused(each.client.get("/api/tasks/queued"), 404, "Task not found")


# User tokens.


def test_user_token_can_do_what_agent_tokens_can(scenario: Scenario, agent: Agent) -> None:
    """As in the axios example of the specification: one token for all calls, and no attempt in the reports."""
    by_user = agent.with_user_token(scenario.user)
    scenario.queue_tasks("one", "two")
    assert by_user.claims() == ["one", "two"]
    ok(by_user.heartbeat())
    ok(by_user.progress("one", 0.5, step="Running tests", status="in_progress"))
    assert (
        ok(by_user.complete("one", summary="Task completed", prUrl="https://github.com/..."))["status"] == "completed"
    )
    assert ok(by_user.fail("two"))["status"] == "failed"
    assert scenario.get_agent()["holding"] == []


def test_user_report_must_name_the_attempt_after_the_first(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    scenario.advance(clock, 13 * 60)
    assert [command["attempt"] for command in agent.commands()] == [2]
    by_user = agent.with_user_token(scenario.user)
    before = snapshot()
    wrong: list[dict[str, Any]] = [{}, {"attempt": 1}, {"attempt": 3}]
    for attempt in wrong:
        refused(by_user.progress(task_id, **attempt), 409)
        refused(by_user.complete(task_id, **attempt), 409)
        refused(by_user.fail(task_id, **attempt), 409)
    assert snapshot() == before
    ok(by_user.progress(task_id, 0.5, attempt=2))
    before = snapshot()
    refused(by_user.complete(task_id), 409)
    assert snapshot() == before
    ok(by_user.complete(task_id, attempt=2))
    assert scenario.get_task(task_id)["attempt"] == 2


def test_late_report_on_an_earlier_attempt_returns_409(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    scenario.advance(clock, 13 * 60)
    assert agent.claims() == [task_id]
    before = snapshot()
    for report in (agent.progress, agent.complete, agent.fail):
        refused(report(task_id, attempt=1), 409)
    assert snapshot() == before
    ok(agent.progress(task_id, 0.5, attempt=2))
    refused(agent.complete(task_id, attempt=1), 409)
    ok(agent.complete(task_id, attempt=2))


# Timeouts and retention.


def test_task_fails_when_it_exceeds_its_timeout(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    agent = scenario.agent("busy", concurrency=1)
    task_id = scenario.start_task(agent, "task-1", timeoutSeconds=300)
    scenario.advance(clock, 280, agent)
    assert scenario.task_status(task_id) == "in_progress"
    scenario.advance(clock, 120, agent)
    task = scenario.get_task(task_id)
    assert task["status"] == "failed"
    assert "300" in task["error"]
    assert task["completedAt"] is not None
    before = snapshot()
    for report in (agent.progress, agent.complete, agent.fail):
        refused(report(task_id), 409)
    assert snapshot() == before
    scenario.claim_task(agent, "next")
    assert scenario.event_types(task_id)[-1] == "failed"


def test_task_queued_for_more_than_a_day_fails(scenario: Scenario, clock: Clock) -> None:
    scenario.queue_tasks()
    clock.advance(DAY - 60)
    scenario.poller.sweep()
    assert scenario.task_status() == "queued"
    clock.advance(90)
    scenario.poller.sweep()
    task = scenario.get_task()
    assert task["status"] == "failed"
    assert task["error"]
    assert scenario.agent().claims() == []
    assert scenario.event_types() == ["created", "queued", "failed"]


def test_finished_task_is_stored_for_90_days(
    scenario: Scenario, agent: Agent, clock: Clock, make_user: Callable[..., Client]
) -> None:
    task_id = scenario.start_task(agent)
    ok(agent.complete(task_id))
    clock.advance(89 * DAY)
    user = make_user()
    assert ok(user.get(f"/api/tasks/{task_id}"))["status"] == "completed"
    clock.advance(2 * DAY)
    refused(user.get(f"/api/tasks/{task_id}"), 404, "Task not found")
    refused(user.get(f"/api/tasks/{task_id}/events"), 404, "Task not found")
    assert ok(user.get("/api/tasks"))["data"] == []


def test_events_describe_every_transition(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.claim_task(agent)
    clock.advance(5)
    ok(agent.progress(task_id, 0.5, step="one"))
    ok(agent.fail(task_id, "It broke"))
    events = ok(scenario.user.get(f"/api/tasks/{task_id}/events"))["data"]
    assert [(event["type"], event["status"], event["agentId"], event["detail"]) for event in events] == [
        ("task.created", "pending", None, None),
        ("task.queued", "queued", None, None),
        ("task.assigned", "assigned", agent.id, None),
        ("task.started", "in_progress", agent.id, "one"),
        ("task.failed", "failed", agent.id, "It broke"),
    ]
    assert all(INSTANT.fullmatch(event["timestamp"]) for event in events)
