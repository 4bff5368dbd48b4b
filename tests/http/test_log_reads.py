"""Reading a log: bounded in bytes, in requests, and by what Lambda can return. `nextOffset` continues."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chalicelib import dynamodb
from chalicelib.core.settings import KB, settings
from chalicelib.tasks import history_store, tables
from chalicelib.tasks.tables import LogRow
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.long import load
from tests.support import costs, moto_aws

MB = 1024 * KB
QUERY = "Query tasks"
TASK = "t" * 128
"""The longest id, so that fewer rows fill a page of DynamoDB."""
LAMBDA_LIMIT = 6 * MB
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def append(agent: Agent, offset: int, data: str, **more: object) -> Response:
    return agent.client.post(f"/api/tasks/{TASK}/logs", {"offset": offset, "data": data} | more)


def read(scenario: Scenario, **query: int) -> dict[str, Any]:
    found: dict[str, Any] = ok(scenario.user.get(f"/api/tasks/{TASK}/logs", query))
    return found


def queries(scenario: Scenario, **query: int) -> int:
    """The number of queries of a read."""
    cost = costs.measured(lambda: scenario.user.get(f"/api/tasks/{TASK}/logs", query))
    return list(cost.requests).count(QUERY)


def read_all(scenario: Scenario, **query: int) -> tuple[str, int]:
    """The whole log, and the number of reads. A reader continues at `nextOffset` until `complete`."""
    text, offset = "", 0
    for number in range(1, 100):
        page = read(scenario, offset=offset, **query)
        text, offset = text + page["data"], page["nextOffset"]
        if page["complete"]:
            return text, number
        assert page["data"], "a read makes progress"
    raise AssertionError("the log has no end")


def store_chunks(scenario: Scenario, chunks: list[str]) -> None:
    """Store the log of the task in these chunks, as many appends would. The task has ended, and the log is closed."""
    (head,) = [row for row in moto_aws.rows("tasks") if row["sk"]["S"] == "H"]
    pk, at = head["pk"]["S"], int(head["createdAt"]["N"])

    def rows() -> Iterator[load.Row]:
        offset = 0
        for chunk in chunks:
            key = history_store._log_key(1, offset)
            row = dynamodb.item(LogRow, pk=pk, sk=key, text=chunk, at=at, expires_at=at)
            yield LogRow.Meta.table_name, row.to_dynamodb()
            offset += len(chunk.encode())

    load.load(None, rows())
    size = sum(len(chunk.encode()) for chunk in chunks)
    boto3.client("dynamodb").update_item(
        TableName=tables.TASKS_TABLE,
        Key={"pk": head["pk"], "sk": head["sk"]},
        UpdateExpression="SET logged = :size, logEnd = :size",
        ExpressionAttributeValues={":size": {"N": str(size)}},
    )


def check_many_small_chunks(scenario: Scenario, agent: Agent, many: int, most_reads: int) -> None:
    scenario.start_task(agent, TASK)
    ok(agent.complete(TASK))
    chunks = [chr(97 + number % 26) for number in range(many)]
    store_chunks(scenario, chunks)
    assert queries(scenario) <= 3
    assert queries(scenario, offset=many - 1) == 1
    text, reads = read_all(scenario)
    assert text == "".join(chunks)
    assert reads <= most_reads


def test_log_of_many_small_chunks_is_read_in_few_requests(scenario: Scenario, agent: Agent) -> None:
    check_many_small_chunks(scenario, agent, 15_000, most_reads=2)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_log_of_200_000_one_byte_chunks_is_read_in_few_requests(scenario: Scenario, agent: Agent) -> None:
    check_many_small_chunks(scenario, agent, 200_000, most_reads=16)


def test_read_sends_as_few_queries_as_it_can(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, TASK)
    assert queries(scenario) == 0, "the head says that the log is empty"
    offset = 0
    for _ in range(3):
        offset = ok(append(agent, offset, "x" * 600 * KB))["nextOffset"]
    assert queries(scenario) == 1
    assert queries(scenario, offset=256 * KB) == 1, "where a chunk begins"
    assert queries(scenario, offset=100) == 2, "within a chunk"
    assert queries(scenario, limit=MB) == 2, "a page of DynamoDB has 1 MB"
    assert queries(scenario, offset=offset) == 0, "nothing new"
    assert len(read(scenario, offset=100, limit=MB)["data"]) == MB


def test_earlier_attempt_is_complete_where_its_log_ends(scenario: Scenario, agent: Agent) -> None:
    """Also if its size is a multiple of the limit, and whether the task has ended or not."""
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "x" * 512 * KB))
    ok(scenario.user.post("/api/agents", {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}), 201)
    second = scenario.agent("agent-2")
    second.claims()
    for _ in range(2):
        assert read(scenario, attempt=1)["complete"] is False
        text, reads = read_all(scenario, attempt=1)
        assert (len(text), reads) == (512 * KB, 3)
        last = read(scenario, attempt=1, offset=512 * KB)
        assert (last["data"], last["complete"], last["openUntil"]) == ("", True, None)
        assert read(scenario, attempt=1, offset=1 << 40)["complete"] is True
        ok(second.complete(TASK, attempt=2))


def test_attempt_that_never_starts_has_an_empty_log(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "x"))
    future = read(scenario, attempt=2)
    assert (future["data"], future["nextOffset"], future["complete"]) == ("", 0, False)
    ok(agent.complete(TASK, logBytes=1))
    assert read(scenario, attempt=2)["complete"] is True


def delete_chunks(*offsets: int) -> None:
    for row in moto_aws.rows("tasks"):
        if row["sk"]["S"] in [history_store._log_key(1, offset) for offset in offsets]:
            key = {"pk": row["pk"], "sk": row["sk"]}
            boto3.client("dynamodb").delete_item(TableName=tables.TASKS_TABLE, Key=key)


def test_log_with_missing_chunks_can_be_read_to_its_end(scenario: Scenario, agent: Agent) -> None:
    """In earlier versions of the platform, the chunks of a log expired one after the other."""
    scenario.start_task(agent, TASK)
    parts = [f"part {number}, " * 10 * KB for number in range(5)]
    store_chunks(scenario, parts)
    ok(agent.complete(TASK))
    size, total = len(parts[0]), sum(map(len, parts))
    delete_chunks(0)
    first = read(scenario, limit=size // 2)
    assert (first["data"], first["offset"]) == (parts[1][: size // 2], size)
    assert first["nextOffset"] == size + size // 2
    assert read_all(scenario)[0] == "".join(parts[1:])
    delete_chunks(2 * size)
    found = read(scenario)
    assert (found["data"], found["nextOffset"]) == (parts[1], 2 * size)
    assert read_all(scenario)[0] == parts[1] + parts[3] + parts[4]
    delete_chunks(size, 3 * size, 4 * size)
    nothing = read(scenario)
    assert (nothing["data"], nothing["nextOffset"], nothing["complete"]) == ("", 0, True)
    assert read(scenario, offset=total - 1)["complete"] is True


# What Lambda can return.


def returned_size(response: Response) -> int:
    """The size of a response as the runtime of Python 3.11 serializes what the function returns: escaped again."""
    headers = dict(response.headers)
    return len(json.dumps({"statusCode": response.status, "headers": headers, "body": response.body.decode()}))


@pytest.mark.parametrize("character", ["\x01", '"', "\n", "é", "€", "🙂"])
def test_log_of_escaped_characters_fits_into_responses(scenario: Scenario, agent: Agent, character: str) -> None:
    scenario.start_task(agent, TASK)
    part = character * (80 * KB)  # as JSON in a request, twelve bytes for each emoji
    offset = 0
    while offset < 2 * MB:
        offset = ok(append(agent, offset, part))["nextOffset"]
    ok(agent.complete(TASK, logBytes=offset))
    text, position = "", 0
    while position < offset:
        response = scenario.user.get(f"/api/tasks/{TASK}/logs", {"offset": position, "limit": MB})
        assert returned_size(response) < LAMBDA_LIMIT
        page = ok(response)
        text, position = text + page["data"], page["nextOffset"]
        assert len(page["data"].encode()) > 500 * KB or position == offset
        assert page["complete"] is (position == offset)
    assert text == character * (offset // len(character.encode()))


# Whether the log is complete.


def test_log_is_complete_once_it_has_the_size_that_the_agent_reported(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "first "))
    assert read(scenario)["complete"] is False
    ok(agent.complete(TASK, logBytes=10))
    ended = read(scenario)
    assert (ended["data"], ended["complete"]) == ("first ", False), "four bytes may still come"
    until = scenario.get_task(TASK)["completedAt"]
    assert ended["openUntil"] is not None
    assert ended["openUntil"] > until
    clock.advance(500)
    for _ in range(2):  # the second one is a repetition
        ok(append(agent, 6, "last"))
    final = read(scenario)
    assert (final["data"], final["complete"], final["openUntil"]) == ("first last", True, None)
    assert read(scenario, limit=4)["complete"] is False, "the data does not reach the end"
    closed = refused(append(agent, 10, "more"), 409, "Conflict")
    assert "closed" in closed["message"]
    assert read(scenario)["data"] == "first last"


def test_log_is_complete_at_once_if_all_of_it_was_sent_before_the_end(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "größe"))
    ok(agent.fail(TASK, logBytes=7))
    assert read(scenario)["complete"] is True


@pytest.mark.parametrize("report", [{}, {"logBytes": 100}])
def test_log_is_complete_ten_minutes_after_the_end_if_the_rest_never_arrives(
    scenario: Scenario, agent: Agent, clock: Clock, report: dict[str, Any]
) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "first "))
    ok(agent.complete(TASK, **report))
    clock.advance(590)
    assert read(scenario)["complete"] is False
    ok(append(agent, 6, "late"))
    assert read(scenario)["complete"] is False
    clock.advance(11)
    assert (read(scenario)["complete"], read(scenario)["openUntil"]) == (True, None)


def test_log_is_complete_after_the_text_of_a_failure(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "before "))
    ok(agent.fail(TASK, logs="größe", logBytes=7))
    found = read(scenario)
    assert (found["data"], found["complete"]) == ("before größe", True)


def test_log_of_a_task_that_no_agent_held_is_complete_at_its_end(scenario: Scenario) -> None:
    scenario.queue_tasks(TASK)
    assert read(scenario)["complete"] is False
    ok(scenario.user.post(f"/api/tasks/{TASK}/cancel"))
    assert (read(scenario)["complete"], read(scenario)["openUntil"]) == (True, None)


def test_expired_log_is_complete(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    scenario.start_task(agent, TASK)
    ok(append(agent, 0, "gone"))
    ok(agent.complete(TASK))
    assert settings.retention_days > 30
    clock.advance(30 * 86_400 + 1)
    later = scenario.user.login()
    page = ok(later.get(f"/api/tasks/{TASK}/logs"))
    assert (page["data"], page["nextOffset"], page["complete"]) == ("", 0, True)
