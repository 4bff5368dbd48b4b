"""What clients send is measured as it is stored: what does not fit is refused with 413 before anything is written."""

import json

import pytest

from chalicelib.core.settings import KB
from chalicelib.dynamodb.marshalling import item_size
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.support import moto_aws
from tests.support.client import Client

MAX_ITEM_BYTES = 400 * KB
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

WORK = {"taskId": "task-1", "intent": "fix-bug", "repo": "https://example.com/r", "naturalLanguage": "Do it"}


def submission(number: str, count: int) -> bytes:
    """A submission whose context has this number many times. `json.dumps` would write the number differently."""
    body = json.dumps(WORK | {"context": {"numbers": []}}, separators=(",", ":"))
    return body.replace("[]", f"[{','.join([number] * count)}]").encode()


@pytest.mark.parametrize("path", ["/api/workflows/execute", "/api/tasks"])
@pytest.mark.parametrize("number", ["1e15", "1E5"])
def test_small_request_that_would_become_a_row_of_over_400_kb_is_refused(user: Client, path: str, number: str) -> None:
    body = submission(number, 50_000 if number == "1e15" else 62_000)
    assert len(body) < 256 * KB
    error = refused(user.post(path, body), 413, "Request too large")
    assert "as they are stored" in error["message"]
    assert moto_aws.rows("tasks") == []
    assert moto_aws.messages("workflow") == []


def test_largest_submission_is_stored_and_handed_out(scenario: Scenario, agent: Agent) -> None:
    ok(scenario.user.post("/api/workflows/execute", submission("1e15", 20_000)), 202)
    scenario.poller.drain()
    (command,) = agent.commands()
    assert command["context"] == {"numbers": [1e15] * 20_000}
    ok(agent.complete("task-1"))
    ok(scenario.user.post("/api/tasks/task-1/retry"), 202)


def test_context_is_stored_as_compact_json(scenario: Scenario) -> None:
    scenario.submit(context={"issueId": "123", "labels": ["a", "é"]})
    (body,) = [row for row in moto_aws.rows("tasks") if row["sk"]["S"] == "B"]
    assert body["context"]["S"] == '{"issueId":"123","labels":["a","é"]}'


def test_largest_row_of_each_kind_fits(scenario: Scenario) -> None:
    """The limits of the fields keep the other rows below the maximum, whatever a client sends."""
    wide, key = "🔑", "k" * 128
    agent = scenario.agent(
        key,
        name=wide * 128,
        version=wide * 64,
        platform=wide * 64,
        capabilities=["fix-bug", *(f"{number:064d}" for number in range(31))],
    )
    tasks = [f"{number:0128d}" for number in range(20)]
    for task_id in tasks:
        scenario.submit(task_id, repo=wide * 512, branch=wide * 255, naturalLanguage=wide * 10_000)
    scenario.poller.drain()
    assert len(agent.claims(limit=20)) == len(tasks)
    for task_id in tasks:
        ok(agent.progress(task_id, 0.123456789, step=wide * 1_000, details=wide * 1_000))
    ok(scenario.user.patch(f"/api/agents/{key}", {"note": wide * 500}))
    for _ in range(2):
        machine = dict.fromkeys(("uptime", "taskCount", "memoryUsage", "cpuUsage"), 999_999_999_999_999.1)
        listed = [f"{number:0128d}" for number in range(100)]
        ok(agent.heartbeat(status=wide * 32, taskIds=listed, instanceId=key, **machine))
        scenario.poller.drain()
    ok(agent.client.post(f"/api/tasks/{tasks[0]}/logs", {"offset": 0, "data": "x" * 1_000 * KB}))
    files = {"commit": wide * 1_000, "files": ["x" * 100] * 1_000}
    report = {"summary": "é" * 20_000, "output": "x" * 200 * KB, "prUrl": "x" * 3 * KB, "resultFiles": files}
    ok(agent.complete(tasks[0], success=False, **report))
    ok(agent.fail(tasks[1], "é" * 20_000, details="x" * 100 * KB, logs="\u0001" * 100 * KB))
    hook = {"url": "http://localhost:9/" + "x" * 1_900, "description": wide * 200}
    ok(scenario.user.post("/api/webhooks", hook), 201)
    for table in ("users", "agents", "tasks", "webhooks"):
        for row in moto_aws.rows(table):
            assert item_size(row) <= MAX_ITEM_BYTES - 20 * KB, (table, row.get("sk"))
            if row.get("sk") == {"S": "H"}:
                assert item_size(row) < 8 * KB
