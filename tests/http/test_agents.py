"""Agents: registration, heartbeats, and how the platform decides whether an agent is active."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.scenario import INSTANT, Agent, Scenario, epoch, ok, refused, snapshot
from tests.long import load
from tests.support.client import Client

SPEC = {
    "agentId": "agent-550e8400-e29b-41d4-a716-446655440000",
    "userId": "user-999",
    "name": "my-local-agent",
    "version": "0.2.0",
    "platform": "darwin",
    "capabilities": ["fix-bug", "feature", "explain", "review-pr"],
}
REGISTRATION = {"agentId": "agent-1", "name": "n", "version": "1"}


# Registration.


def test_registration_response_matches_the_specification(user: Client, clock: Clock) -> None:
    body = ok(user.post("/api/agents", SPEC), 201)
    assert set(body) == {"success", "agent", "token"}
    assert body["success"] is True
    agent = body["agent"]
    for name, value in SPEC.items():
        if name not in ("agentId", "userId"):
            assert agent[name] == value
    assert agent["id"] == SPEC["agentId"]
    assert agent["userId"] not in ("", SPEC["userId"])
    assert agent["status"] == "active"
    for name in ("lastHeartbeat", "createdAt", "updatedAt"):
        assert INSTANT.fullmatch(agent[name])
        assert abs(epoch(agent[name]) - clock.now / 1_000) < 30
    ok(user.acting_as(body["token"]).get(f"/api/agents/{agent['id']}/commands"))


def test_registration_requires_only_id_name_and_version(user: Client) -> None:
    agent = ok(user.post("/api/agents", REGISTRATION), 201)["agent"]
    assert (agent["platform"], agent["status"]) == (None, "active")
    assert ok(user.get("/api/agents"))["agents"] == [agent]
    assert ok(user.get("/api/agents/agent-1")) == agent


def test_idempotency_key_repeats_a_registration_for_ten_minutes(user: Client, clock: Clock) -> None:
    first = ok(user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)
    clock.advance(9 * 60)
    second = ok(user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)
    assert second["agent"]["id"] == first["agent"]["id"]
    assert second["agent"]["createdAt"] == first["agent"]["createdAt"]
    assert second["token"] != first["token"]
    ok(Agent("agent-1", user.acting_as(second["token"])).poll())
    assert ok(user.get("/api/agents"))["total"] == 1


def test_repeated_registration_makes_the_agent_active_again(scenario: Scenario, clock: Clock) -> None:
    """The client that did not get the first response may repeat the request after the agent has become inactive."""
    ok(scenario.user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)
    clock.advance(10)
    scenario.poller.sweep()
    clock.advance(160)
    scenario.poller.sweep()
    clock.advance(60)
    scenario.poller.sweep()
    assert scenario.get_agent()["status"] == "inactive"
    repeated = ok(scenario.user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)
    assert repeated["agent"]["status"] == "active"
    assert abs(epoch(repeated["agent"]["lastHeartbeat"]) - clock.now / 1_000) < 5
    assert scenario.get_agent() == repeated["agent"]
    clock.advance(100)
    scenario.poller.sweep()
    assert scenario.get_agent()["status"] == "active"
    scenario.advance(clock, 300)
    assert scenario.get_agent()["status"] == "inactive", "the sweep checks the agent again"


def test_repeated_registration_revokes_every_earlier_token(scenario: Scenario) -> None:
    token = ok(scenario.user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)["token"]
    first = Agent("agent-1", scenario.user.acting_as(token))
    unused = ok(first.client.post("/api/agents/agent-1/token"), 201)["token"]
    token = ok(scenario.user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)["token"]
    for old in (first, Agent("agent-1", scenario.user.acting_as(unused))):
        refused(old.poll(), 401)
        refused(old.client.post("/api/agents/agent-1/token"), 401)
    ok(Agent("agent-1", scenario.user.acting_as(token)).poll())


@pytest.mark.parametrize(
    ("seconds", "headers"), [(0, {}), (0, {"Idempotency_Key": "k-2"}), (11 * 60, {"Idempotency_Key": "k-1"})]
)
def test_registered_id_returns_409_without_a_recent_matching_key(
    user: Client, clock: Clock, seconds: int, headers: dict[str, str]
) -> None:
    token = ok(user.post("/api/agents", REGISTRATION, Idempotency_Key="k-1"), 201)["token"]
    clock.advance(seconds)
    before = snapshot()
    repeated = user.post("/api/agents", REGISTRATION, **headers)
    refused(repeated, 409, "Agent with this ID already exists for user")
    assert snapshot() == before
    ok(Agent("agent-1", user.acting_as(token)).poll())


def test_idempotency_key_is_scoped_to_its_user_and_agent(scenario: Scenario, other: Scenario) -> None:
    for each in (scenario, other):
        for name in ("agent-1", "agent-2"):
            ok(each.user.post("/api/agents", REGISTRATION | {"agentId": name}, Idempotency_Key="k"), 201)
    assert ok(scenario.user.get("/api/agents"))["total"] == ok(other.user.get("/api/agents"))["total"] == 2


# Heartbeats.


def test_heartbeat_response_matches_the_specification(scenario: Scenario, agent: Agent) -> None:
    report = {"status": "ready", "uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.5}
    body = ok(agent.heartbeat(**report))
    assert body == {"success": True, "nextPollInterval": 5_000, "status": "active", "cancel": []}


@pytest.mark.parametrize(
    "body", [None, b"", {}, {"status": "busy"}, {"cpuUsage": 0}, {"future": [1]}, {"status": None}]
)
def test_heartbeat_body_and_all_its_fields_are_optional(scenario: Scenario, agent: Agent, body: Any) -> None:
    assert ok(agent.client.post(f"/api/agents/{agent.id}/heartbeat", body))["success"] is True


def test_heartbeat_updates_last_heartbeat(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    clock.advance(90)
    ok(agent.heartbeat())
    assert abs(epoch(scenario.get_agent()["lastHeartbeat"]) - clock.now / 1_000) < 10
    assert epoch(scenario.get_agent()["createdAt"]) < clock.now / 1_000 - 80


def test_heartbeat_changes_version_capabilities_and_concurrency(scenario: Scenario) -> None:
    agent = scenario.agent(capabilities=["feature"], concurrency=1)
    scenario.queue_tasks("task-1", "task-2", intent="explain")
    assert agent.claims() == []
    ok(agent.heartbeat(version="2", capabilities=["explain"], concurrency=2))
    found = scenario.get_agent()
    assert (found["version"], found["capabilities"], found["concurrency"]) == ("2", ["explain"], 2)
    assert agent.claims() == ["task-1", "task-2"]
    ok(agent.heartbeat())
    assert scenario.get_agent()["version"] == "2", "a heartbeat keeps the fields that it omits"
    assert scenario.get_agent()["capabilities"] == ["explain"]


def test_agent_has_status_error_while_it_reports_error(scenario: Scenario, agent: Agent) -> None:
    assert ok(agent.heartbeat(status="error"))["status"] == "error"
    assert scenario.get_agent()["status"] == "error"
    assert ok(scenario.user.get("/api/agents?status=error"))["total"] == 1
    assert ok(agent.heartbeat(status="ready"))["status"] == "active"
    assert scenario.get_agent()["status"] == "active"


@pytest.mark.parametrize("reported", ["ready", "busy", "draining", "whatever"])
def test_other_reported_statuses_leave_the_agent_active(scenario: Scenario, agent: Agent, reported: str) -> None:
    assert ok(agent.heartbeat(status=reported))["status"] == "active"
    assert scenario.get_agent()["status"] == "active"


def test_disconnected_agent_is_inactive_until_its_next_heartbeat(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent)
    assert ok(agent.heartbeat(status="disconnected"))["status"] == "inactive"
    assert scenario.get_agent()["status"] == "inactive"
    ok(agent.heartbeat(status="ready"))
    assert scenario.get_agent()["status"] == "active"


def test_disconnected_agent_becomes_active_when_it_polls(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks()
    ok(agent.heartbeat(status="disconnected"))
    assert agent.claims() == ["task-1"]
    found = scenario.get_agent()
    assert (found["status"], found["reportedStatus"]) == ("active", None)


def test_heartbeat_keeps_the_fields_that_it_omits(scenario: Scenario, agent: Agent) -> None:
    """An agent that reported `draining` gets no new claims until it reports another status."""
    scenario.queue_tasks()
    ok(agent.heartbeat(status="draining", uptime=3600))
    ok(agent.heartbeat())
    assert agent.claims() == []
    assert (scenario.get_agent()["reportedStatus"], scenario.get_agent()["machine"]) == ("draining", {"uptime": 3600})
    ok(agent.heartbeat(status="error"))
    assert ok(agent.heartbeat())["status"] == "error"
    ok(agent.heartbeat(status="ready"))
    assert agent.claims() == ["task-1"]


@pytest.mark.parametrize(
    "send", [lambda agent: agent.poll(limit=0), lambda agent: agent.heartbeat(uptime=-1)], ids=["poll", "beat"]
)
def test_invalid_call_with_a_valid_token_is_a_check_in_and_is_counted(
    scenario: Scenario, agent: Agent, clock: Clock, send: Callable[[Agent], Response]
) -> None:
    last_heartbeat = scenario.get_agent()["lastHeartbeat"]
    clock.advance(30)
    first, second = send(agent), send(agent)
    assert (first.status, second.status) == (400, 400)
    left = [int(str(response.header("X-RateLimit-Remaining"))) for response in (first, second)]
    assert left[0] - left[1] == 1
    assert scenario.get_agent()["lastHeartbeat"] > last_heartbeat
    ok(scenario.user.post("/api/agents/agent-1/token"), 201)
    refused(send(agent), 401, "Agent token expired or invalid")


def test_idempotency_key_with_another_registration_returns_409(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}
    ok(scenario.user.post("/api/agents", body, Idempotency_Key="key-1"), 201)
    refused(scenario.user.post("/api/agents", body | {"name": "o"}, Idempotency_Key="key-1"), 409, "Conflict")
    assert scenario.get_agent()["name"] == "n"


# Active or inactive.


def test_agent_becomes_inactive_150_to_270_seconds_after_its_last_check_in(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    clock.advance(145)
    scenario.poller.sweep()
    assert scenario.get_agent()["status"] == "active"
    clock.advance(125)
    scenario.poller.sweep()
    assert scenario.get_agent()["status"] == "inactive"
    assert ok(scenario.user.get("/api/agents?status=inactive"))["total"] == 1
    assert ok(scenario.user.get("/api/agents?status=active"))["total"] == 0


CHECK_INS: dict[str, Callable[[Agent], Response]] = {
    "heartbeat": lambda agent: agent.heartbeat(),
    "poll": lambda agent: agent.poll(),
    "read": lambda agent: agent.client.get("/api/tasks/task-1"),
    "progress": lambda agent: agent.progress("task-1", 0.5, step="another"),
    "same progress": lambda agent: agent.progress("task-1", 0.1),
    "complete": lambda agent: agent.complete("task-1"),
    "fail": lambda agent: agent.fail("task-2"),
}


def test_every_agent_call_is_a_check_in(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent, "task-1")
    scenario.start_task(agent, "task-2")
    for what, check_in in CHECK_INS.items():
        scenario.advance(clock, 280)
        assert scenario.get_agent()["status"] == "inactive", what
        ok(check_in(agent))
        assert scenario.get_agent()["status"] == "active", what


def test_agent_that_returned_can_become_inactive_again(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.advance(clock, 280)
    ok(agent.heartbeat())
    scenario.advance(clock, 120)
    assert scenario.get_agent()["status"] == "active"
    scenario.advance(clock, 160)
    assert scenario.get_agent()["status"] == "inactive"


def test_agent_that_checks_in_stays_active(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent, "task-1")
    for what in ("heartbeat", "poll", "read", "same progress"):
        clock.advance(140)
        ok(CHECK_INS[what](agent))
        scenario.poller.sweep()
        assert scenario.get_agent()["status"] == "active", what


def test_call_with_an_invalid_token_is_no_check_in(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    clock.advance(280)
    scenario.poller.sweep()
    refused(Agent(agent.id, scenario.user.acting_as("garbage")).heartbeat(), 401)
    assert scenario.get_agent()["status"] == "inactive"


def test_silent_agent_in_error_becomes_inactive(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    ok(agent.heartbeat(status="error"))
    clock.advance(280)
    scenario.poller.sweep()
    assert scenario.get_agent()["status"] == "inactive"


def test_silent_agent_loses_its_claims_and_keeps_its_running_task(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.start_task(agent, "running")
    scenario.claim_task(agent, "claimed")
    assert scenario.get_agent()["status"] == "active"
    scenario.advance(clock, 280)
    assert (scenario.task_status("running"), scenario.task_status("claimed")) == ("in_progress", "queued")
    another = scenario.agent("another")
    assert another.claims() == ["claimed"]
    assert scenario.get_task("claimed")["attempt"] == 1
    ok(agent.progress("running", 0.9))
    ok(agent.complete("running"))


def test_running_task_moves_to_another_agent_after_ten_silent_minutes(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    task_id = scenario.start_task(agent)
    another = scenario.agent("another")
    scenario.advance(clock, 9 * 60, another)
    assert scenario.task_status(task_id) == "in_progress"
    assert another.claims() == []
    scenario.advance(clock, 4 * 60, another)
    task = scenario.get_task(task_id)
    assert (task["status"], task["attempt"], task["startedAt"], task["progress"]) == ("queued", 2, None, 0)
    assert another.commands()[0]["attempt"] == 2
    ok(another.progress(task_id, 0.2))
    before = snapshot()
    for late in (
        agent.progress(task_id), agent.progress(task_id, attempt=1), agent.complete(task_id),
        agent.complete(task_id, attempt=1), agent.fail(task_id, attempt=1),
    ):  # fmt: skip
        refused(late, 409)
    assert snapshot() == before
    ok(another.complete(task_id))
    assert scenario.get_task(task_id)["agentId"] == "another"


def test_task_fails_with_agent_lost_after_its_last_attempt(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.queue_tasks(maxAttempts=2)
    for attempt in (1, 2):
        assert [command["attempt"] for command in agent.commands()] == [attempt]
        ok(agent.progress("task-1"))
        scenario.advance(clock, 13 * 60)
    task = scenario.get_task()
    assert (task["status"], task["error"], task["attempt"]) == ("failed", "Agent lost", 2)
    assert task["completedAt"] is not None
    assert agent.claims() == []


def test_platform_outage_does_not_end_running_attempts(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    scenario.poller.sweep()
    clock.advance(3 * 3_600)
    scenario.poller.sweep()
    assert scenario.task_status(task_id) == "in_progress"
    assert scenario.get_agent()["status"] == "active"
    scenario.advance(clock, 60)
    ok(agent.complete(task_id))


# Many agents.


def test_user_with_two_thousand_agents_can_list_and_count_all_of_them(scenario: Scenario, clock: Clock) -> None:
    owner = scenario.user_id()
    load.load(None, load.agent_rows(owner, 2_000, clock.now))
    by_state = ok(scenario.user.get("/api/stats"))["agents"]
    assert by_state == {"active": 2_000, "inactive": 0, "error": 0}
    listed: list[str] = []
    query = {"limit": "100"}
    while True:
        page = ok(scenario.user.get("/api/agents", query))
        assert (page["total"], page["totalCapped"]) == (1_000, True)
        listed += [agent["id"] for agent in page["data"]]
        if page["nextCursor"] is None:
            break
        query = {"limit": "100", "cursor": page["nextCursor"]}
    assert len(listed) == len(set(listed)) == 2_000
    newcomer = scenario.agent("newcomer", capabilities=["fix-bug"])
    scenario.queue_tasks()
    assert newcomer.claims() == ["task-1"]
