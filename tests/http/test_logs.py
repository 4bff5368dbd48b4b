"""The log of a task: chunks are appended at an offset, stored once, and can be read while the log grows."""

import pytest

from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused

KB = 1024
MB = 1024 * KB


def append(agent: Agent, offset: int, data: str, **more: object) -> Response:
    return agent.client.post("/api/tasks/task-1/logs", {"offset": offset, "data": data} | more)


def read(scenario: Scenario, **query: int) -> dict[str, object]:
    found: dict[str, object] = ok(scenario.user.get("/api/tasks/task-1/logs", query))
    return found


def test_offsets_of_chunks_are_in_bytes(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    assert ok(append(agent, 0, "größe "))["nextOffset"] == 8
    assert ok(append(agent, 8, "zwei"))["nextOffset"] == 12
    assert read(scenario) == {
        "taskId": "task-1",
        "attempt": 1,
        "offset": 0,
        "data": "größe zwei",
        "nextOffset": 12,
        "complete": False,
        "truncated": False,
        "openUntil": None,
    }
    assert read(scenario, offset=8)["data"] == "zwei"
    assert read(scenario, offset=12)["data"] == ""
    assert read(scenario, offset=4, limit=5)["data"] == "ße zw"[:4]  # ß has two bytes, and no character is split


@pytest.mark.parametrize(("offset", "data"), [(0, "é🙂 é"), (1, "🙂 é"), (3, " é"), (7, "é"), (8, "")])
def test_offset_within_a_character_starts_at_the_next_character(
    scenario: Scenario, agent: Agent, offset: int, data: str
) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "é🙂 é"))
    ok(agent.complete("task-1", logBytes=9))
    found = read(scenario, offset=offset)
    assert (found["data"], found["nextOffset"], found["complete"]) == (data, 9, True)


def test_reader_makes_progress_with_the_smallest_limit(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    text = "a ß € 🙂 end"
    ok(append(agent, 0, text))
    received, offset = "", 0
    while piece := read(scenario, offset=offset, limit=1):
        if not piece["data"]:
            break
        received += str(piece["data"])
        offset = int(str(piece["nextOffset"]))
    assert received == text


def test_repeated_chunk_is_stored_once(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    for _ in range(2):
        assert ok(append(agent, 0, "one "))["nextOffset"] == 4
    for _ in range(2):
        assert ok(append(agent, 0, "one two"))["nextOffset"] == 7
    assert read(scenario)["data"] == "one two"


def test_gap_returns_416_with_the_expected_offset(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "one"))
    response = append(agent, 4, "two")
    assert refused(response, 416, "Wrong offset")["details"] == ["offset: 3"]
    assert response.header("Upload-Offset") == "3"
    assert read(scenario)["data"] == "one"


def test_only_the_holding_agent_appends_until_ten_minutes_after_the_end(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.queue_tasks()
    refused(append(agent, 0, "x"), 409)
    scenario.start_task(agent)
    refused(append(scenario.agent("agent-2"), 0, "x"), 409)
    ok(agent.complete("task-1"))
    clock.advance(590)
    ok(append(agent, 0, "late"))
    clock.advance(11)
    refused(append(agent, 4, "x"), 409)
    assert read(scenario)["complete"] is True


def test_each_attempt_has_its_own_log(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "first", attempt=1))
    ok(scenario.user.post("/api/agents", {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}), 201)
    second = scenario.agent("agent-2")
    second.claims()
    ok(append(second, 0, "second", attempt=2))
    assert read(scenario)["data"] == "second"
    earlier = read(scenario, attempt=1)
    assert (earlier["data"], earlier["attempt"]) == ("first", 1)
    refused(append(agent, 5, "x", attempt=1), 401)


def test_log_of_a_failure_is_appended_once(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "before "))
    long = "é" * (100 * KB) + "x" * (300 * KB)
    for _ in range(2):
        ok(agent.fail("task-1", logs=long))
    first = read(scenario, limit=MB)
    assert first["data"] == "before " + long
    assert first["complete"] is True


def test_log_ends_at_four_megabytes_with_a_marker(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    piece = "x" * (MB - KB)
    offset = 0
    for _ in range(4):
        offset = ok(append(agent, offset, piece))["nextOffset"]
    full = ok(append(agent, offset, piece))
    assert full["truncated"] is True
    assert ok(append(agent, offset + len(piece), "more"))["truncated"] is True
    end = read(scenario, offset=4 * MB - 10)
    assert end["truncated"] is True
    assert str(end["data"]).startswith("x" * 10 + "\n[the log is cut here")
    assert ok(agent.complete("task-1"))["status"] == "completed"


def test_log_is_stored_for_thirty_days(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "kept"))
    ok(agent.complete("task-1"))
    clock.advance(30 * 86_400 - 60)
    scenario.user.token = None
    later = scenario.user.login()
    assert ok(later.get("/api/tasks/task-1/logs"))["data"] == "kept"
    clock.advance(61)
    assert ok(later.get("/api/tasks/task-1/logs"))["data"] == ""
    assert ok(later.get("/api/tasks/task-1"))["status"] == "completed"


def test_another_user_or_agent_cannot_read_the_log(scenario: Scenario, other: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    ok(append(agent, 0, "secret"))
    refused(other.user.get("/api/tasks/task-1/logs"), 404, "Task not found")
    refused(scenario.agent("agent-2").client.get("/api/tasks/task-1/logs"), 404, "Task not found")
    assert ok(agent.client.get("/api/tasks/task-1/logs"))["data"] == "secret"


@pytest.mark.usefixtures("one_or_three_partitions")
def test_stats_report_queued_tasks_and_agents_by_status(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    scenario.start_task(agent)
    scenario.queue_tasks("task-2", "task-3")
    clock.advance(90)
    assert ok(scenario.user.get("/api/stats")) == {
        "queueDepth": 2,
        "oldestQueuedSeconds": 90,
        "tasks": {
            "pending": 0,
            "queued": 2,
            "assigned": 0,
            "in_progress": 1,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
        },
        "agents": {"active": 1, "inactive": 0, "error": 0},
    }
