"""The reference pages agree with the code: their generated regions, their table of errors, and what they promise."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.reference import DOCS, PAGES, regions, render
from infra.reference.tables import operations
from infra.reference.types import SECTIONS
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok
from tests.support.client import Client

Json = dict[str, Any]

API = (DOCS / "api.md").read_text(encoding="utf-8")
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


@pytest.fixture
def document(anonymous: Client) -> Json:
    found: Json = ok(anonymous.get("/api/openapi.json"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_generated_regions_are_up_to_date(document: Json, page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert render(text, document) == text, "`make docs` writes it again"


def test_every_operation_is_described_once(document: Json) -> None:
    described = [what.removeprefix("operation ") for what in regions(API) if what.startswith("operation ")]
    assert sorted(described) == sorted(address for address, _ in operations(document))


def test_objects_with_a_section_of_their_own_exist(document: Json) -> None:
    assert SECTIONS.keys() <= document["components"]["schemas"].keys()


def test_table_of_errors_has_every_status_and_title(document: Json) -> None:
    section = API.partition("\n## Errors\n")[2].partition("\n## ")[0]
    documented = {
        (int(status), title)
        for status, titles in re.findall(r"^\| (\d{3}) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
        for title in titles.split(", ")
    }
    raised = {
        (response["content"]["application/json"]["schema"]["properties"]["statusCode"]["const"], title)
        for response in document["components"]["responses"].values()
        for title in response["content"]["application/json"]["schema"]["properties"]["error"]["enum"]
    }
    assert documented == raised | {(405, "Method not allowed")}


def blank_fields(call: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a call in the table of protocol.md: each field, and the outcome of each value."""
    section = PROTOCOL.partition("\n## Blank and null fields\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "|" in line]
    for calls, fields, *outcomes in rows[2:]:
        if call in calls.split(", "):
            yield from ((field, outcomes) for field in fields.replace("`", "").split(", "))


ABSENT = object()
VALUES = (ABSENT, None, "", "  ")
TITLES = {
    "400 missing": "Missing required fields",
    "400 invalid": "Invalid request",
    "400 range": "Progress must be between 0 and 1",
}
PATHS = {
    "register": "/api/agents",
    "heartbeat": "/api/agents/{agent}/heartbeat",
    "progress": "/api/tasks/{task}/progress",
    "complete": "/api/tasks/{task}/complete",
    "fail": "/api/tasks/{task}/fail",
    "log": "/api/tasks/{task}/logs",
    "submit": "/api/workflows/execute",
}
ON_A_TASK = ("progress", "complete", "fail", "log")
ENDING = ("complete", "fail")
NEW_IDS = {"register": ["agentId"], "submit": ["taskId"]}
GOOD: dict[str, Json] = {
    "register": {"agentId": "agent-2", "name": "Agent", "version": "1"},
    "heartbeat": {},
    "progress": {"progress": 0.5},
    "complete": {"success": True},
    "fail": {"error": "It broke"},
    "log": {"offset": 0, "data": "line\n"},
    "submit": {"taskId": "task-2", "intent": "fix-bug", "repo": "https://github.com/u/r", "naturalLanguage": "Fix it"},
}


@pytest.mark.parametrize("call", GOOD)
def test_blank_and_null_fields_have_the_documented_outcome(
    scenario: Scenario, agent: Agent, clock: Clock, call: str
) -> None:
    fields = dict(blank_fields(call))
    assert fields.keys() >= GOOD[call].keys()
    task = ""
    for field, outcomes in fields.items():
        clock.advance(61)  # past the rate limits of a minute
        for number, (value, outcome) in enumerate(zip(VALUES, outcomes, strict=True)):
            name = f"{field}-{number}"
            if call in ON_A_TASK and not task:
                task = scenario.claim_task(agent, name)
            body = GOOD[call] | dict.fromkeys(NEW_IDS.get(call, ()), name) | {field: value}
            if value is ABSENT:
                del body[field]
            client = scenario.user if call == "register" else agent.client
            response = client.post(PATHS[call].format(agent=agent.id, task=task), body)
            title = response.json()["error"] if response.status >= 400 else None
            assert title == TITLES.get(outcome), (field, value, outcome)
            if call in ENDING and title is None:
                task = ""


def test_report_of_an_earlier_attempt_gets_the_documented_message(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.claim_task(agent, "task-550e8400")
    agent.progress("task-550e8400")
    for _ in range(2):
        clock.advance(61)
        agent.heartbeat(taskIds=[])
    scenario.poller.drain()
    assert [(each["task_id"], each["attempt"]) for each in agent.commands()] == [("task-550e8400", 2)]
    refused = agent.complete("task-550e8400", attempt=1)
    assert refused.status == 409
    assert f'"message": "{refused.json()["message"]}"' in PROTOCOL


def test_retry_of_a_running_task_gets_the_documented_message(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent, "task-1")
    agent.progress("task-1")
    refused = scenario.user.post("/api/tasks/task-1/retry")
    assert refused.status == 409
    assert f'"message": "{refused.json()["message"]}"' in API


def test_details_of_an_invalid_request_are_the_documented_ones(scenario: Scenario) -> None:
    response = scenario.user.post("/api/agents", {"agentId": "a b", "name": "a", "version": "1", "concurrency": 21})
    assert response.status == 400
    assert [each for each in response.json()["details"] if f'"{each}"' not in API] == []


def test_heartbeat_with_one_figure_removes_the_others(scenario: Scenario, agent: Agent) -> None:
    agent.heartbeat(uptime=1, cpuUsage=2)
    agent.heartbeat(status="ready")
    assert ok(scenario.user.get(f"/api/agents/{agent.id}"))["machine"] == {"uptime": 1, "cpuUsage": 2}
    agent.heartbeat(uptime=3)
    assert ok(scenario.user.get(f"/api/agents/{agent.id}"))["machine"] == {"uptime": 3}


def test_second_renewal_ends_the_first_new_token(scenario: Scenario, agent: Agent) -> None:
    first, second = (ok(agent.client.post(f"/api/agents/{agent.id}/token"), 201)["token"] for _ in range(2))
    assert scenario.user.acting_as(first).get(f"/api/agents/{agent.id}/commands").status == 401
    assert agent.poll().status == 200
    assert scenario.user.acting_as(second).get(f"/api/agents/{agent.id}/commands").status == 200
    assert agent.poll().status == 401


def test_report_with_and_without_attempt_are_different(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent, "task-1")
    assert agent.complete("task-1", attempt=1).status == 200
    assert agent.complete("task-1", attempt=1, summary=None).status == 200
    assert agent.complete("task-1").status == 409


def test_instance_stays_live_for_150_s_after_its_last_heartbeat(agent: Agent, clock: Clock) -> None:
    ok(agent.heartbeat(instanceId="a"))
    clock.advance(100)
    ok(agent.poll())
    ok(agent.heartbeat())
    assert agent.heartbeat(instanceId="b").status == 409
    clock.advance(51)
    ok(agent.heartbeat(instanceId="b"))
    ok(agent.heartbeat(instanceId="b", status="disconnected"))
    ok(agent.heartbeat(instanceId="c"))


def test_chunk_that_splits_a_character_gets_416(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent, "task-1")

    def append(offset: int, data: str) -> int:
        return agent.client.post("/api/tasks/task-1/logs", {"offset": offset, "data": data}).status

    assert append(0, "abc") == 200
    assert append(2, "äöü") == 416
    assert append(3, "äöü") == 200
