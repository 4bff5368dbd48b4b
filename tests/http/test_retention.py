"""The rows of a task expire together, and not while the task is open: description, result, timeline and log."""

import dataclasses

import boto3
import pytest

from chalicelib.core.settings import settings
from chalicelib.tasks import tables
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.support import moto_aws

HOUR = 3_600
DAY = 24 * HOUR
TEXT = "Fix the login. " * 20


@pytest.fixture(autouse=True)
def one_day_of_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest retention, so that a task lives longer than its rows are stored after the end."""
    monkeypatch.setattr(tables, "settings", dataclasses.replace(settings, retention_days=1))


class Expiry:
    """Advances the clock, and deletes expired rows as DynamoDB's TTL does."""

    def __init__(self, clock: Clock, poller: EventPoller) -> None:
        self._clock, self._poller = clock, poller

    def wait(self, seconds: float) -> None:
        """Advance the clock, run the sweep, and delete what has expired."""
        self._clock.advance(seconds)
        self._poller.sweep()
        self._poller.drain()
        for row in moto_aws.rows("tasks"):
            if int(row.get("expiresAt", {}).get("N", 1 << 60)) * 1_000 <= self._clock.now:
                delete(row["pk"]["S"], row["sk"]["S"])


def delete(pk: str, sk: str) -> None:
    boto3.client("dynamodb").delete_item(TableName=tables.TASKS_TABLE, Key={"pk": {"S": pk}, "sk": {"S": sk}})


def delete_body(task_id: str = "task-1") -> None:
    """What an earlier version of the platform caused: its bodies expired before their heads."""
    (row,) = [row for row in parts(task_id) if row["sk"]["S"] == "B"]
    delete(row["pk"]["S"], row["sk"]["S"])


def parts(task_id: str = "task-1") -> list[dict[str, dict[str, str]]]:
    return [row for row in moto_aws.rows("tasks") if row["pk"]["S"].endswith(f"#{task_id}")]


@pytest.fixture
def expiry(clock: Clock, poller: EventPoller) -> Expiry:
    return Expiry(clock, poller)


def run_and_lose(scenario: Scenario, agent: Agent, expiry: Expiry) -> None:
    """The agent starts task-1, writes to its log, and is lost after 12 minutes."""
    assert agent.claims() == ["task-1"]
    ok(agent.progress("task-1", 0.1))
    ok(agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "first attempt", "attempt": 1}))
    for _ in range(6):  # a pause of more than three minutes between two sweeps would be an outage of the platform
        expiry.wait(120)
    assert scenario.task_status() == "queued"


def test_task_that_lives_longer_than_the_retention_is_handed_out_with_its_description(
    scenario: Scenario, agent: Agent, expiry: Expiry
) -> None:
    scenario.queue_tasks(naturalLanguage=TEXT, context={"issueId": "123"})
    expiry.wait(23 * HOUR)
    run_and_lose(scenario, agent, expiry)
    expiry.wait(23 * HOUR)
    (command,) = agent.commands()
    assert command["attempt"] == 2
    assert (command["description"], command["context"]) == (TEXT.strip(), {"issueId": "123"})


def test_log_and_timeline_of_a_long_task_are_stored_as_long_as_its_head(
    scenario: Scenario, agent: Agent, expiry: Expiry
) -> None:
    scenario.queue_tasks()
    run_and_lose(scenario, agent, expiry)
    expiry.wait(23 * HOUR)
    assert agent.claims() == ["task-1"]
    ok(agent.progress("task-1", 0.1, attempt=2, step="Testing"))
    expiry.wait(100)
    ok(agent.complete("task-1", attempt=2))
    expiry.wait(DAY - 300)
    events = ok(scenario.user.get("/api/tasks/task-1/events"))["data"]
    assert [event["type"] for event in events] == [
        "task.created", "task.queued", "task.assigned", "task.started", "task.requeued", "task.assigned",
        "task.started", "task.completed",
    ]  # fmt: skip
    assert ok(scenario.user.get("/api/tasks/task-1/logs", {"attempt": 1}))["data"] == "first attempt"
    expiry.wait(400)
    refused(scenario.user.get("/api/tasks/task-1"), 404)
    refused(scenario.user.get("/api/tasks/task-1/events"), 404)
    refused(scenario.user.get("/api/tasks/task-1/logs"), 404)


def test_retry_late_in_the_retention_has_the_description(scenario: Scenario, agent: Agent, expiry: Expiry) -> None:
    scenario.queue_tasks(naturalLanguage=TEXT, context={"issueId": "123"})
    expiry.wait(20 * HOUR)
    assert agent.claims() == ["task-1"]
    ok(agent.complete("task-1", output="Done"))
    expiry.wait(DAY - 300)
    assert scenario.get_task()["description"] == TEXT.strip()
    retried = ok(scenario.user.post("/api/tasks/task-1/retry"), 202)["taskId"]
    scenario.poller.drain()
    (command,) = agent.commands()
    assert command["task_id"] == retried
    assert (command["description"], command["context"]) == (TEXT.strip(), {"issueId": "123"})


def test_no_row_expires_before_the_head(scenario: Scenario, agent: Agent, expiry: Expiry) -> None:
    scenario.queue_tasks()
    run_and_lose(scenario, agent, expiry)
    expiry.wait(20 * HOUR)
    assert agent.claims() == ["task-1"]
    ok(agent.complete("task-1", attempt=2, summary="Fixed"))
    expiry.wait(1)
    (end,) = [int(row["expiresAt"]["N"]) for row in parts() if row["sk"]["S"] == "H"]
    early = [row["sk"]["S"] for row in parts() if int(row["expiresAt"]["N"]) < end]
    assert not early


def test_task_without_a_stored_description_fails_instead_of_being_handed_out(
    scenario: Scenario, agent: Agent, expiry: Expiry
) -> None:
    scenario.queue_tasks("task-1", "task-2", naturalLanguage=TEXT)
    delete_body()
    assert agent.claims() == ["task-2"]
    task = scenario.get_task()
    assert task["status"] == "failed"
    assert task["error"].startswith("The description of this task is no longer stored")
    assert task["description"] == TEXT.strip()[:200], "the beginning, which is part of the head"
    assert scenario.get_agent()["holding"] == ["task-2"]
    expiry.wait(1)
    events = ok(scenario.user.get("/api/tasks/task-1/events"))["data"]
    assert [event["type"] for event in events][-1] == "task.failed"


def test_claim_whose_description_is_no_longer_stored_is_not_handed_out_again(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent)
    delete_body()
    assert agent.claims() == []
    assert scenario.task_status() == "failed"


def test_task_without_a_stored_description_cannot_be_retried(scenario: Scenario, agent: Agent) -> None:
    scenario.claim_task(agent, naturalLanguage=TEXT, context={"issueId": "123"})
    ok(agent.complete("task-1"))
    delete_body()
    error = refused(scenario.user.post("/api/tasks/task-1/retry"), 409, "Conflict")
    assert "no longer stored" in error["message"]
    assert ok(scenario.user.get("/api/tasks"))["total"] == 1
    found = scenario.get_task()
    assert (found["description"], found["context"]) == (TEXT.strip()[:200], None)


def test_id_that_is_used_again_after_its_task_has_expired_begins_without_history(
    scenario: Scenario, agent: Agent, expiry: Expiry
) -> None:
    scenario.queue_tasks()
    run_and_lose(scenario, agent, expiry)
    assert agent.claims() == ["task-1"]
    ok(agent.complete("task-1", attempt=2, summary="Old"))
    expiry.wait(1)
    kept = [row for row in parts() if row["sk"]["S"] != "H"]
    expiry.wait(DAY)
    assert "H" not in {row["sk"]["S"] for row in parts()}
    for row in kept:  # DynamoDB deletes expired rows in any order, and some of them days later
        boto3.client("dynamodb").put_item(TableName=tables.TASKS_TABLE, Item=row)
    scenario.queue_tasks()
    task = scenario.get_task()
    assert (task["status"], task["summary"]) == ("queued", None)
    events = ok(scenario.user.get("/api/tasks/task-1/events"))["data"]
    assert [event["type"] for event in events] == ["task.created", "task.queued"]
    assert agent.claims() == ["task-1"]
    ok(agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "new", "attempt": 1}))
    assert ok(scenario.user.get("/api/tasks/task-1/logs"))["data"] == "new"
