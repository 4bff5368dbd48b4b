"""Every response fits into what Lambda returns, 6 MB after it has escaped the JSON of the body a second time.

test_log_reads.py has the log. The other kinds of large responses have here the largest content that clients can store.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.core.settings import KB, MINUTE
from chalicelib.webhooks import store as webhook_store
from chalicelib.webhooks.entities import Delivery, DeliveryAttempt
from infra.local.gateway import Response
from tests.http.scenario import Agent, Scenario, ok
from tests.long import load
from tests.support import moto_aws

LAMBDA_LIMIT = 6 * 1024 * KB
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

WIDE = "🔑"
"""Twelve bytes in a response, and one character for the limits of fields."""
CONTROL = "\x01"
"""Seven bytes in a response, and one byte in a row."""


def returned_size(response: Response) -> int:
    """The size of a response as the runtime of Python 3.11 serializes what the function returns."""
    headers = dict(response.headers)
    return len(json.dumps({"statusCode": response.status, "headers": headers, "body": response.body.decode()}))


@pytest.mark.parametrize("character", [WIDE, CONTROL, '"'])
def test_commands_and_a_task_with_its_result(scenario: Scenario, agent: Agent, character: str) -> None:
    count = 240 * KB // len(json.dumps(character)[1:-1])
    tasks = [f"task-{number}" for number in range(6)]
    scenario.queue_tasks(*tasks, naturalLanguage=character * count)
    polled = agent.poll(limit=20)
    assert returned_size(polled) < LAMBDA_LIMIT
    claimed = [command["task_id"] for command in ok(polled)["commands"]]
    assert len(claimed) >= 3
    report: dict[str, Any] = {
        "summary": character * 2_000,
        "output": character * 3 * count,
        "resultFiles": [character * 5_000],
    }
    ok(agent.complete(claimed[0], **report))
    detail = scenario.user.get(f"/api/tasks/{claimed[0]}")
    assert ok(detail)["description"] == character * count
    assert returned_size(detail) < LAMBDA_LIMIT


@pytest.mark.parametrize("character", [WIDE, CONTROL])
def test_page_of_tasks_and_page_of_events(scenario: Scenario, agent: Agent, character: str) -> None:
    tasks = [f"{number:0128d}" for number in range(20)]
    work = {"repo": character * 512, "branch": character * 255, "naturalLanguage": character * 200}
    scenario.queue_tasks(*tasks, **work)
    assert len(agent.claims(limit=20)) == 20
    for task_id in tasks:
        ok(agent.progress(task_id, 0.5, step=character * 300, details=character * 600))
        ok(agent.fail(task_id, error=character * 600, details=character * 600))
    listed = scenario.user.get("/api/tasks", {"limit": 20})
    assert ok(listed)["total"] == 20
    assert returned_size(listed) * 5 < LAMBDA_LIMIT, "a page of 100"
    events = scenario.user.get(f"/api/tasks/{tasks[0]}/events")
    largest = max(len(json.dumps(json.dumps(event))) for event in ok(events)["data"])
    assert largest * 100 < LAMBDA_LIMIT


def test_page_of_agents(scenario: Scenario) -> None:
    tasks = [f"{number:0128d}" for number in range(20)]
    scenario.queue_tasks(*tasks)
    capabilities = ["fix-bug", *(f"{number:064d}" for number in range(31))]
    agent = scenario.agent("a" * 128, name=WIDE * 128, version=WIDE * 64, platform=WIDE * 64, capabilities=capabilities)
    assert len(agent.claims(limit=20)) == 20
    ok(agent.heartbeat(status=WIDE * 32, uptime=1e15, taskCount=1e15, memoryUsage=1e15, cpuUsage=1e15))
    ok(scenario.user.patch(f"/api/agents/{agent.id}", {"note": WIDE * 500}))
    listed = scenario.user.get("/api/agents")
    assert len(ok(listed)["data"][0]["holding"]) == 20
    assert returned_size(listed) * 100 < LAMBDA_LIMIT, "a page of 100, each agent twice"


def stored_deliveries(owner: str, webhook_id: str, now: int, many: int) -> Iterator[load.Row]:
    """Deliveries whose receiver has answered each of 20 attempts with a kilobyte of control characters."""
    for number in range(many):
        attempts = [DeliveryAttempt(at=now, ms=10, status=500, error="500", text=CONTROL * KB) for _ in range(20)]
        delivery = Delivery(
            owner=owner,
            webhook_id=webhook_id,
            id=f"{number:05d}",
            event="task.created",
            body=json.dumps({"event": "task.created", "data": {"taskId": "task-1"}}),
            sequence=number,
            tries=20,
            attempts=attempts,
            created_at=now,
            since=now,
            next_at=now + MINUTE,
        )
        item = webhook_store.delivery_item(delivery)
        yield item.request["TableName"], item.request["Item"]


def test_page_of_deliveries_is_shortened_until_it_fits(scenario: Scenario) -> None:
    hook = ok(scenario.user.post("/api/webhooks", {"url": "http://localhost:9/"}), 201)["webhook"]["id"]
    owner = moto_aws.rows("users")[0]["owner"]["S"]
    many = 46  # moto counts the whole rows of an index, and returns 1 MB
    load.load(None, stored_deliveries(owner, hook, 1_763_938_000_000, many))
    found: list[str] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        response = scenario.user.get(f"/api/webhooks/{hook}/deliveries", query)
        assert returned_size(response) < LAMBDA_LIMIT
        page = ok(response)
        assert len(page["data"]) >= 20
        assert (page["total"], page["offset"]) == (many, len(found))
        found += [delivery["id"] for delivery in page["data"]]
        if not page["hasMore"]:
            break
        query["cursor"] = page["nextCursor"]
    assert found == [f"{number:05d}" for number in reversed(range(many))]
