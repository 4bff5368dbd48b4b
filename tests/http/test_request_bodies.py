"""The valid values of each field of each request body, and unusual or long text."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.support.client import Client

KB = 1_024
INVALID_IDS: list[Any] = ["a b", "a/b", "ü", "a\n", "x" * 129, "a#b", "a@b", " a", 5, ["a"], {"a": "b"}, True]
VALID_IDS = ["0", "..", "status", "A-z_0.9:" * 16]

WORK = {"intent": "fix-bug", "repo": "r", "naturalLanguage": "n"}
Table = dict[str, list[Any]]
WRONG_WORK: Table = {
    "intent": [5, [], {}, True, "a b", "x" * 65, "a#b"],
    "repo": [5, [], {}, "x" * 1_000],
    "branch": [5, [], {}, "x" * 300],
    "naturalLanguage": [5, [], {}, True],
    "context": [5, "text", [], True],
    "agentId": ["a b", "x" * 129, 5],
    "priority": [101, -101, 1.5, "high", [], 10**30, True, "5"],
    "timeoutSeconds": [59, 24 * 3_600 + 1, -1, "long", [], 10**30],
    "maxAttempts": [0, 11, "many", []],
}
WRONG_AGENTS: Table = {
    "agentId": INVALID_IDS,
    "name": [5, [], {}, "x" * 5_000],
    "version": [5, [], {}, "x" * 5_000],
    "platform": [5, [], "x" * 5_000],
    "capabilities": ["fix-bug", 5, {}, [5], [None], [["a"]], ["a b"], [""], ["a"] * 1_000],
    "concurrency": [0, 21, -1, 1.5, "many", [], 10**30],
}
WRONG_HEARTBEATS: Table = {
    "uptime": [-1, "x", [], {}, "5"],
    "taskCount": [-1, "x", [], {}],
    "memoryUsage": [-1, "x", [], {}],
    "cpuUsage": [-1, "x", [], {}],
    "status": [5, [], {}, "x" * 5_000],
    "version": [5, [], ""],
    "capabilities": ["fix-bug", [5], ["a b"]],
    "concurrency": [0, 21, "x"],
}


def each_value(table: Table) -> Iterator[tuple[str, Any]]:
    return ((field, value) for field, values in table.items() for value in values)


def test_absent_null_or_blank_required_field_returns_400(scenario: Scenario, agent: Agent) -> None:
    before = snapshot()
    bodies: dict[str, dict[str, Any]] = {
        "/api/agents": {"agentId": "a", "name": "n", "version": "1"},
        "/api/workflows/execute": {"taskId": "t"} | WORK,
        "/api/tasks": WORK,
        "/api/tasks/task-1/progress": {"progress": 0.5},
        "/api/tasks/task-1/complete": {"success": True},
        "/api/tasks/task-1/fail": {"error": "e"},
        "/api/auth/pin/login": {"email": "user@example.com", "pin": "123456"},
    }
    for path, body in bodies.items():
        for name, value in body.items():
            others = {other: given for other, given in body.items() if other != name}
            blanks: list[dict[str, Any]] = [{name: ""}, {name: "  "}] if isinstance(value, str) else []
            for absent in [{}, {name: None}, *blanks]:
                response = scenario.user.post(path, others | absent)
                assert refused(response, 400, "Missing required fields")["details"] == [name], (path, absent)
    assert snapshot() == before


def names_the_field(body: dict[str, Any], field: str) -> bool:
    return any(detail.startswith((f"{field}:", f"{field}.")) for detail in body.get("details", []))


def test_invalid_field_of_a_submission_is_named(scenario: Scenario) -> None:
    before = snapshot()
    for field, value in each_value(WRONG_WORK):
        for path, body in (("/api/workflows/execute", {"taskId": "t"} | WORK), ("/api/tasks", WORK)):
            error = refused(scenario.user.post(path, body | {field: value}), 400)
            assert names_the_field(error, field), (path, field, value, error)
    for value in INVALID_IDS:
        error = refused(scenario.user.post("/api/workflows/execute", WORK | {"taskId": value}), 400)
        assert names_the_field(error, "taskId"), (value, error)
    assert snapshot() == before


def test_invalid_field_of_a_registration_is_named(scenario: Scenario) -> None:
    before = snapshot()
    for field, value in each_value(WRONG_AGENTS):
        body = {"agentId": "a", "name": "n", "version": "1", field: value}
        error = refused(scenario.user.post("/api/agents", body), 400)
        assert names_the_field(error, field), (field, value, error)
    assert snapshot() == before


def test_invalid_field_of_a_heartbeat_is_named(scenario: Scenario, agent: Agent) -> None:
    before = snapshot()
    for field, value in each_value(WRONG_HEARTBEATS):
        error = refused(scenario.user.post(f"/api/agents/{agent.id}/heartbeat", {field: value}), 400)
        assert names_the_field(error, field), (field, value, error)
    assert snapshot() == before


def test_invalid_field_of_a_report_returns_400(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    before = snapshot()
    wrong: Any
    for wrong in [0, -1, 1.5, "first", [], 10**30]:
        for response in (
            agent.progress(task_id, attempt=wrong),
            agent.complete(task_id, attempt=wrong),
            agent.fail(task_id, attempt=wrong),
        ):
            assert names_the_field(refused(response, 400), "attempt"), wrong
    for wrong in [5, [], {}]:
        for report, required, names in (
            ("progress", {"progress": 0.5}, ("step", "details", "status")),
            ("complete", {"success": True}, ("summary", "output", "prUrl")),
            ("fail", {"error": "e"}, ("error", "details", "logs")),
        ):
            for name in names:
                response = agent.client.post(f"/api/tasks/{task_id}/{report}", required | {name: wrong})
                assert names_the_field(refused(response, 400), name), (report, name, wrong)
    for wrong in ["perhaps", [], {}, 2, "true", "false", 0, 1]:
        refused(agent.complete(task_id, success=wrong), 400)
    for wrong in ["half", True, [], {}, "0.5"]:
        refused(agent.progress(task_id, wrong), 400)
    for wrong in ["text", 5]:
        refused(agent.complete(task_id, resultFiles=wrong), 400)
    assert snapshot() == before


def test_progress_from_0_to_1_is_accepted(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    for progress in (0, 1, 0.0, 1.0, 5e-324, 0.12345678901234567):
        ok(agent.progress(task_id, progress))
        assert scenario.get_task(task_id)["progress"] == pytest.approx(progress, abs=1e-4)


HUGE = ["1e999", "1" + "0" * 5_000, "0." + "1" * 5_000]


@pytest.mark.parametrize("number", HUGE, ids=lambda number: number[:8])
def test_huge_number_is_rejected_or_stored_without_a_server_error(
    scenario: Scenario, agent: Agent, number: str
) -> None:
    """If the number is stored, every route that returns it still works."""
    task_id = scenario.start_task(agent)
    for path, text in (
        (f"/api/tasks/{task_id}/progress", '{"progress": %s}'),
        (f"/api/tasks/{task_id}/progress", '{"progress": 0.5, "attempt": %s}'),
        (f"/api/agents/{agent.id}/heartbeat", '{"uptime": %s, "cpuUsage": %s}'),
        ("/api/tasks", '{"intent": "fix-bug", "repo": "r", "naturalLanguage": "n", "priority": %s}'),
        ("/api/tasks", '{"intent": "fix-bug", "repo": "r", "naturalLanguage": "n", "context": {"n": [%s]}}'),
        ("/api/workflows/execute",
         '{"taskId": "t", "intent": "fix-bug", "repo": "r", "naturalLanguage": "n", "context": {"n": %s}}'),
        (f"/api/tasks/{task_id}/complete", '{"success": true, "resultFiles": {"n": %s}}'),
    ):  # fmt: skip
        response = agent.with_user_token(scenario.user).client.post(path, text.replace("%s", number).encode())
        assert response.status in (200, 202, 400), (path, number, response)
        if response.status == 400:
            refused(response, 400)
    scenario.run_workflows()
    assert b"Infinity" not in agent.poll().body
    assert b"NaN" not in agent.poll().body
    ok(scenario.user.get("/api/tasks"))
    scenario.get_task(task_id)
    scenario.get_agent(agent.id)


@pytest.mark.parametrize("name", VALID_IDS)
def test_every_valid_id_works_from_submission_to_completion(scenario: Scenario, name: str) -> None:
    agent = scenario.agent(name)
    scenario.queue_tasks(name, agentId=name)
    assert agent.claims() == [name]
    for step in ("one", "one", "two"):
        ok(agent.progress(name, 0.5, step=step))
    assert ok(agent.heartbeat())["cancel"] == []
    assert scenario.get_agent(name)["id"] == name
    ok(agent.complete(name))
    assert agent.claims() == []
    assert [listed["id"] for listed in ok(scenario.user.get("/api/tasks", {"agentId": name}))["data"]] == [name]
    assert scenario.event_types(name) == ["created", "queued", "assigned", "started", "step", "completed"]


UNUSUAL = (
    'NUL \0, quote ", backslash \\, newline \n\r\n, tab \t, bell \a, <script>, é, 漢字, 🔑, \u202e, \uffff, '
    "{}, %s, $a, #a :a"
)


def test_unusual_text_is_returned_unchanged(scenario: Scenario, agent: Agent) -> None:
    context = {UNUSUAL: [UNUSUAL, {"": None}], "": "", "a.b": {"$ref": "#"}, "1": 1.5, "deep": [[[[[[]]]]]]}
    scenario.queue_tasks("task-1", repo=UNUSUAL, branch=UNUSUAL, naturalLanguage=UNUSUAL, context=context)
    (command,) = agent.commands()
    assert [command[name] for name in ("repo", "branch", "description")] == [UNUSUAL] * 3
    assert command["context"] == context
    ok(agent.progress("task-1", 0.5, step=UNUSUAL, details=UNUSUAL))
    task = scenario.get_task()
    assert [task[name] for name in ("repo", "branch", "description", "currentStep", "details")] == [UNUSUAL] * 5
    assert task["context"] == context
    ok(agent.complete("task-1", summary=UNUSUAL, output=UNUSUAL, prUrl=UNUSUAL, resultFiles={UNUSUAL: UNUSUAL}))
    task = scenario.get_task()
    assert [task[name] for name in ("summary", "output", "prUrl")] == [UNUSUAL] * 3
    assert task["resultFiles"] == {UNUSUAL: UNUSUAL}


def test_infinite_number_in_a_context_returns_400(scenario: Scenario) -> None:
    """JSON has no infinity, but Python parses a number such as 1e400 as infinity."""
    body = b'{"intent": "fix-bug", "repo": "r", "naturalLanguage": "n", "context": {"a": [1e400]}}'
    error = refused(scenario.user.post("/api/tasks", body), 400)
    assert names_the_field(error, "context")
    assert ok(scenario.user.get("/api/tasks"))["total"] == 0


def test_report_with_half_a_surrogate_pair_is_accepted(scenario: Scenario, agent: Agent) -> None:
    """Half of a surrogate pair is valid JSON (RFC 8259, section 8.2). JavaScript and Python send it for cut text."""
    task_id = scenario.start_task(agent)
    for path, field, more in (
        ("progress", "details", '"progress": 0.5'),
        ("logs", "data", '"offset": 0'),
        ("complete", "output", '"success": true'),
    ):
        body = f'{{{more}, "{field}": "cut \\ud83d"}}'.encode()
        ok(agent.client.post(f"/api/tasks/{task_id}/{path}", body))
    assert (scenario.get_task()["output"], scenario.get_task()["details"]) == ("cut \ufffd", "cut \ufffd")
    assert ok(scenario.user.get(f"/api/tasks/{task_id}/logs"))["data"] == "cut \ufffd"
    refused(
        agent.client.post(f"/api/tasks/{task_id}/progress", b'{"progress": 0.5, "step": "\\ud83d"'), 400, "Invalid JSON"
    )


def test_optional_text_may_be_empty(scenario: Scenario, agent: Agent) -> None:
    for task_id in ("task-1", "task-2"):
        scenario.claim_task(agent, task_id, branch="", context={})
        ok(agent.progress(task_id, 0, step="", details=""))
    ok(agent.complete("task-1", summary="", output="", prUrl="", resultFiles={}))
    ok(agent.fail("task-2", details="", logs=""))
    ok(agent.heartbeat(status=""))
    assert (scenario.task_status("task-1"), scenario.task_status("task-2")) == ("completed", "failed")


@pytest.mark.parametrize("letter", ["x", "🔑"])
def test_submission_of_almost_256_kb_is_accepted(scenario: Scenario, agent: Agent, letter: str) -> None:
    text = letter * (125 * KB // len(letter.encode()))
    work = WORK | {"taskId": "task-1", "naturalLanguage": text, "context": {"a": text}}
    body = json.dumps(work, ensure_ascii=False).encode()
    ok(scenario.user.post("/api/workflows/execute", body), 202)
    scenario.poller.drain()
    (command,) = agent.commands()
    assert (command["description"], command["context"]) == (text, {"a": text})
    assert len(ok(scenario.user.get("/api/tasks"))["data"][0]["description"]) <= 1_000


def is_truncated(stored: str, sent: str) -> bool:
    """Whether a stored text was truncated: it is shorter, begins like the sent text and ends with a marker."""
    return len(stored) < len(sent) and stored[:100] == sent[:100] and not sent.startswith(stored)


@pytest.mark.parametrize("letter", ["x", "🔑"])
def test_huge_completion_is_accepted_and_truncated_with_a_marker(scenario: Scenario, agent: Agent, letter: str) -> None:
    task_id = scenario.start_task(agent)
    long = letter * (240 * KB // len(letter.encode()))
    files = {"commit": "abc123", "files": [f"src/{letter}/{number}" for number in range(12_000)]}
    report = {"success": True, "summary": long, "output": long, "prUrl": long, "resultFiles": files}
    body = json.dumps(report, ensure_ascii=False).encode()
    assert 880 * KB < len(body) <= 1_024 * KB
    ok(agent.client.post(f"/api/tasks/{task_id}/complete", body))
    ok(agent.client.post(f"/api/tasks/{task_id}/complete", body))
    task = scenario.get_task(task_id)
    for name in ("summary", "output", "prUrl"):
        assert is_truncated(task[name], long), name
    assert task["resultFiles"]["commit"] == "abc123"
    assert 0 < len(task["resultFiles"]["files"]) < 12_000
    assert files["files"][: len(task["resultFiles"]["files"])] == task["resultFiles"]["files"]
    assert task["resultFiles"]["truncated"] is True


@pytest.mark.parametrize(
    "files", [["x" * 500_000], {"a": "x" * 500_000}, {"files": {"x" * 500_000: 1}}, [[["x"] * 90_000]]]
)
def test_huge_result_files_of_any_form_are_truncated(scenario: Scenario, agent: Agent, files: Any) -> None:
    task_id = scenario.start_task(agent)
    ok(agent.complete(task_id, resultFiles=files))
    assert len(json.dumps(scenario.get_task(task_id)["resultFiles"])) < 100_000


def test_huge_failure_is_accepted_and_truncated_with_a_marker(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    long = "x" * 300 * KB
    ok(agent.fail(task_id, error=long, details=long, logs=long))
    task = scenario.get_task(task_id)
    assert is_truncated(task["error"], long)
    assert is_truncated(task["details"], long)
    (listed,) = ok(scenario.user.get("/api/tasks"))["data"]
    assert len(json.dumps(listed)) < 4 * KB


def test_failure_with_a_megabyte_of_logs_is_accepted(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    ok(
        agent.fail(task_id, logs="🔑" * (1_000 * KB // 4 // 3))
    )  # each emoji has 4 bytes in UTF-8 and 12 bytes in the JSON of the client
    assert (scenario.task_status(task_id), scenario.get_task(task_id)["error"]) == ("failed", "It broke")


def test_smaller_report_succeeds_after_one_that_was_too_large(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    before = snapshot()
    refused(agent.complete(task_id, output="x" * 1_024 * KB), 413, "Request too large")
    assert snapshot() == before
    ok(agent.complete(task_id, output="shorter"))


def test_long_step_is_truncated_and_still_recognized_as_the_same_step(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    long = "é" * 15_000
    for _ in range(2):
        ok(agent.progress(task_id, 0.5, step=long, details=long))
    task = scenario.get_task(task_id)
    for name in ("currentStep", "details"):
        assert len(task[name]) < 5_000
        assert long[:50] in task[name]
        assert task[name].strip("é"), "no marker says that the text was truncated"
    ok(agent.progress(task_id, 0.6, step=long[:-1] + "x", details=long))
    assert scenario.event_types(task_id).count("step") <= 1


def test_unknown_fields_and_user_ids_in_bodies_are_ignored(scenario: Scenario, other: Scenario) -> None:
    other_client = scenario.user.acting_as(other.user.token)
    owner = other.get_agent(other.agent("x").id)["userId"]
    body = {"agentId": "agent-1", "name": "n", "version": "1", "userId": owner, "owner": owner, "future": {"a": 1}}
    registered = ok(scenario.user.post("/api/agents", body), 201)
    assert registered["agent"]["userId"] != owner
    scenario.submit(userId=owner, owner=owner, status="completed", createdAt=0, future=[1])
    assert scenario.task_status() == "pending"
    assert scenario.get_task()["userId"] == registered["agent"]["userId"]
    refused(other_client.get("/api/tasks/task-1"), 404)


def test_idempotency_key_has_1_to_255_characters(user: Client) -> None:
    before = snapshot()
    for key in ("", "x" * 256, "x" * 10_000):
        refused(user.post("/api/tasks", WORK, Idempotency_Key=key), 400)
        refused(user.post("/api/agents", {"agentId": "a", "name": "n", "version": "1"}, Idempotency_Key=key), 400)
    assert snapshot() == before
    for key in ("x", "x" * 255, "schlüssel 漢字 #1 / ~"):
        ok(user.post("/api/tasks", WORK, Idempotency_Key=key), 202)
