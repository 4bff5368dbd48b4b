"""Quotas of an owner: the limit of open tasks, lost counts and recounts, and the quotas of a day."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from chalicelib.core.errors import RateLimited, Unavailable
from chalicelib.core.settings import DAY, KB, MINUTE, settings
from chalicelib.tasks import quota_rules, quotas
from chalicelib.tasks.quota_rules import SHARDS
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.service import faults, invariants
from tests.support import aws_requests

OWNER = "user-1"
NOW = 20_000 * DAY
WORK = {"intent": "fix-bug", "repo": "https://example.com/r", "naturalLanguage": "Do it"}

SetLimits = Callable[..., None]


def used() -> dict[str, int]:
    (usage,) = invariants.usage().values()
    return usage


def submit(scenario: Scenario, task_id: str, **work: Any) -> Any:
    return scenario.user.post("/api/workflows/execute", WORK | {"taskId": task_id} | work)


def test_row_of_the_owner_is_not_written_by_tasks(scenario: Scenario, agent: Agent, poller: EventPoller) -> None:
    """Only the call of the user writes it, which counts against the rate limit. No transaction contains it."""
    submit(scenario, "task-0")
    poller.drain()
    with aws_requests.recorded() as sent:
        scenario.start_task(agent)
        ok(agent.complete("task-1"))
        poller.drain()
    writes = [each.operation for each in sent if "devflow-local-users" in each.tables]
    assert writes == ["UpdateItem"]


def test_publishing_without_webhooks_is_a_single_write(scenario: Scenario, poller: EventPoller) -> None:
    scenario.queue_tasks()
    with aws_requests.recorded() as sent:
        poller.drain()
    writes = [each.operation for each in sent.to("dynamodb") if each.operation not in ("GetItem", "Query")]
    assert writes == ["UpdateItem"]


def test_limit_of_open_tasks_is_exact_for_tasks_one_after_another(aws: None, set_limits: SetLimits) -> None:
    set_limits(open_tasks_per_user=40)
    for number in range(40):
        quotas.count_task(OWNER, f"task-{number}", 10, NOW)
    with pytest.raises(quota_rules.TooManyOpenTasks):
        quotas.count_task(OWNER, "task-40", 10, NOW)
    assert used() == {"open": 40, "tasks": 40, "bytes": 400}


def test_limit_of_open_tasks_is_off_by_at_most_two_percent_under_contention(aws: None, set_limits: SetLimits) -> None:
    set_limits(open_tasks_per_user=800)
    quotas.count_task(OWNER, "task-0", 10, NOW)

    def accept(number: int) -> bool:
        try:
            quotas.count_task(OWNER, f"task-{number}", 10, NOW)
        except (RateLimited, Unavailable):
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        accepted = 1 + sum(pool.map(accept, range(1, 900)))
    assert used()["open"] == accepted
    assert 784 <= accepted <= 816


def test_repeated_submission_is_counted_once(scenario: Scenario) -> None:
    ok(submit(scenario, "task-1"), 202)
    before = used()
    assert before == {"open": 1, "tasks": 1, "bytes": 5}
    for _ in range(3):
        ok(submit(scenario, "task-1"), 202)
        refused(submit(scenario, "task-1", naturalLanguage="Something else"), 409)
    assert used() == before


def test_task_that_is_not_accepted_is_not_counted(scenario: Scenario) -> None:
    ok(submit(scenario, "task-1"), 202)
    before = used()
    refused(submit(scenario, "task-2", agentId="nobody"), 404)
    assert used() == before


def test_rejected_submission_is_counted_only_if_an_earlier_try_stored_it(scenario: Scenario) -> None:
    ok(submit(scenario, "task-0"), 202)
    before = used()

    def denied() -> Any:
        return faults.refused("TransactWriteItems", "AccessDeniedException", when=faults.about("task-1"))

    with denied():
        refused(submit(scenario, "task-1"), 500)
    assert used() == before
    with faults.response_lost("TransactWriteItems", when=faults.about("task-1")), denied():
        refused(submit(scenario, "task-1"), 500)
    assert used() == {"open": 2, "tasks": 2, "bytes": 10}
    ok(submit(scenario, "task-1"), 202)
    assert used() == {"open": 2, "tasks": 2, "bytes": 10}


@pytest.mark.parametrize("nth", range(6))
def test_submission_with_a_lost_response_is_counted_once(scenario: Scenario, nth: int) -> None:
    ok(submit(scenario, "task-0"), 202)
    with faults.nth_response_lost(nth):
        submit(scenario, "task-1")
    submit(scenario, "task-1")
    assert used() == {"open": 2, "tasks": 2, "bytes": 10}


def test_end_of_a_task_is_counted_when_it_is_published(scenario: Scenario, agent: Agent, poller: EventPoller) -> None:
    scenario.start_task(agent)
    ok(agent.complete("task-1", summary="Done", output="é" * 100))
    assert used() == {"open": 1, "tasks": 1, "bytes": 5}
    poller.drain()
    assert used() == {"open": 0, "tasks": 1, "bytes": 5 + 4 + 200}


def test_lost_end_heals_when_the_limit_seems_to_be_reached(
    scenario: Scenario, clock: Clock, poller: EventPoller, set_limits: SetLimits
) -> None:
    set_limits(open_tasks_per_user=3)
    for number in range(3):
        ok(submit(scenario, f"task-{number}"), 202)
        lose_count_of_end(scenario, f"task-{number}", poller)
    assert used()["open"] == 3
    assert invariants.open_heads() == []
    refused(submit(scenario, "task-3"), 429)  # the recount of the first submission was a moment ago
    clock.advance(61)
    ok(submit(scenario, "task-3"), 202)
    assert used()["open"] == 1


def lose_count_of_end(scenario: Scenario, task_id: str, poller: EventPoller) -> None:
    """Cancel a task. DynamoDB does not accept the write that counts its end."""
    ok(scenario.user.post(f"/api/tasks/{task_id}/cancel"))
    with faults.refused("UpdateItem", "ThrottlingException", times=9, when=faults.about("~open#")):
        poller.drain()


def test_recount_at_the_limit_happens_at_most_once_a_minute(
    scenario: Scenario, clock: Clock, set_limits: SetLimits
) -> None:
    set_limits(open_tasks_per_user=2)
    ok(submit(scenario, "task-0"), 202)
    ok(submit(scenario, "task-1"), 202)
    clock.advance(61)
    recounts = []
    for _ in range(3):
        with aws_requests.recorded() as sent:
            refused(submit(scenario, "task-2"), 429, "Too many open tasks")
        recounts.append(sum(each.params.get("IndexName") == "by_status" for each in sent))
    assert recounts == [1, 0, 0]  # all of them are pending, so the other statuses are not read


def test_end_that_is_published_after_a_recount_is_not_counted_twice(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, set_limits: SetLimits
) -> None:
    set_limits(open_tasks_per_user=2)
    scenario.queue_tasks("task-0", "task-1")
    assert agent.claims(limit=1) == ["task-0"]
    clock.advance(61)
    ok(agent.complete("task-0", summary="Done"))
    clock.advance(1)
    ok(submit(scenario, "task-2"), 202)  # recounts, because the end is not published yet
    assert used()["open"] == 2
    poller.drain()
    assert used()["open"] == len(invariants.open_heads()) == 2
    assert used()["bytes"] == 3 * 5 + 4


def test_row_of_an_open_task_that_was_never_counted_does_not_block(scenario: Scenario, poller: EventPoller) -> None:
    """Tasks that an earlier version accepted are counted with the first task of this version."""
    for number in range(5):
        ok(submit(scenario, f"task-{number}"), 202)
    forget_counts()
    store_open_tasks_of_earlier_version(5)
    ok(submit(scenario, "task-5"), 202)
    assert used()["open"] == 6
    assert [row["openTasks"] for row in invariants.rows("users")] == [0]
    for number in range(6):
        ok(scenario.user.post(f"/api/tasks/task-{number}/cancel"))
    poller.drain()
    assert used()["open"] == 0


def test_end_that_an_earlier_version_stored_is_published_but_not_counted(
    scenario: Scenario, clock: Clock, poller: EventPoller
) -> None:
    scenario.queue_tasks("task-0", "task-1")
    poller.drain()
    clock.advance(1)
    ok(scenario.user.post("/api/tasks/task-0/cancel"))
    (event,) = [row for row in invariants.rows("tasks") if row.get("type") == "task.cancelled"]
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-tasks",
        Key={"pk": {"S": event["pk"]}, "sk": {"S": event["sk"]}},
        UpdateExpression="REMOVE #bytes",
        ExpressionAttributeNames={"#bytes": "bytes"},
    )
    poller.drain()
    assert not [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    assert used()["open"] == 2


def forget_counts() -> None:
    for row in invariants.rows("tasks"):
        if row["sk"] == "U":
            key = {"pk": {"S": row["pk"]}, "sk": {"S": "U"}}
            boto3.client("dynamodb").delete_item(TableName="devflow-local-tasks", Key=key)


def store_open_tasks_of_earlier_version(count: int) -> None:
    (user,) = invariants.rows("users")
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-users",
        Key={"owner": {"S": user["owner"]}},
        UpdateExpression="SET openTasks = :count",
        ExpressionAttributeValues={":count": {"N": str(count)}},
    )


def test_counts_are_corrected_weekly_in_both_directions(scenario: Scenario, clock: Clock) -> None:
    ok(submit(scenario, "task-0"), 202)
    (owner,) = invariants.usage()
    for wrong in (5, -5):
        boto3.client("dynamodb").update_item(
            TableName="devflow-local-tasks",
            Key={"pk": {"S": f"~open#{owner}#03"}, "sk": {"S": "U"}},
            UpdateExpression="ADD #open :wrong",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues={":wrong": {"N": str(wrong)}},
        )
        clock.advance(7 * 86_400)
        ok(submit(scenario, f"task-{wrong}"), 202)
        assert used()["open"] == len(invariants.open_heads())


def test_quota_of_tasks_ends_at_midnight_utc(scenario: Scenario, clock: Clock, set_limits: SetLimits) -> None:
    set_limits(tasks_per_day=3)
    clock.advance(86_400 - clock.now // 1_000 % 86_400 + 3_600)
    for number in range(3):
        ok(submit(scenario, f"task-{number}"), 202)
    before = snapshot()
    response = submit(scenario, "task-3")
    assert refused(response, 429)["error"] == "Daily quota reached"
    assert 82_700 < int(response.header("Retry-After") or 0) <= 82_800
    refused(scenario.user.post("/api/tasks", WORK), 429)
    refused(scenario.user.post("/api/tasks/task-0/retry"), 409)
    assert snapshot() == before
    ok(submit(scenario, "task-0"), 202)  # a repeated request
    clock.advance(int(response.header("Retry-After") or 0))
    ok(submit(scenario, "task-3"), 202)
    assert used() == {"open": 4, "tasks": 1, "bytes": 5}


def test_quota_of_bytes_rejects_submissions(scenario: Scenario, set_limits: SetLimits) -> None:
    set_limits(bytes_per_day=300 * KB)
    ok(submit(scenario, "task-0", naturalLanguage="x" * 150 * KB), 202)
    ok(submit(scenario, "task-1", context={"text": "x" * 160 * KB}), 202)
    assert used()["bytes"] > 300 * KB
    refused(submit(scenario, "task-2"), 429, "Daily quota reached")


def test_quota_of_bytes_cuts_logs_and_tasks_go_on(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, set_limits: SetLimits
) -> None:
    set_limits(bytes_per_day=512 * KB)
    scenario.start_task(agent)
    appended, end = 0, 0
    for _ in range(10):
        response = append(agent, end, "x" * 100 * KB)
        end, appended = response["nextOffset"], appended + 100 * KB
        assert end == appended
        if response["truncated"]:
            break
    assert end == 800 * KB
    log = read_log(scenario)
    assert log["truncated"] is True
    assert log["data"].endswith("[the log is cut here: the quota of bytes of this day is used up]\n")
    assert len(log["data"]) < 710 * KB
    with aws_requests.recorded() as sent:
        response = append(agent, end, "more")
    assert (response["nextOffset"], response["truncated"]) == (end + 4, True)
    assert sent.operations == ["UpdateItem", "GetItem"]
    ok(agent.progress("task-1", 0.7, step="still running"))
    ok(agent.complete("task-1", summary="Done"))
    poller.drain()
    assert scenario.task_status() == "completed"
    refused(submit(scenario, "task-2"), 429)
    clock.advance(86_400)
    ok(submit(scenario, "task-2"), 202)


def append(agent: Agent, offset: int, data: str) -> Any:
    return ok(agent.client.post("/api/tasks/task-1/logs", {"offset": offset, "data": data}))


def read_log(scenario: Scenario) -> Any:
    return ok(scenario.user.get("/api/tasks/task-1/logs", {"limit": 1024 * KB}))


def test_next_attempt_of_a_task_with_a_cut_log_has_a_log(
    scenario: Scenario, agent: Agent, set_limits: SetLimits
) -> None:
    scenario.start_task(agent)
    set_limits(bytes_per_day=4)
    assert append(agent, append(agent, 0, "x" * 200 * KB)["nextOffset"], "x" * 56 * KB)["truncated"] is True
    ok(scenario.user.post("/api/agents", {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}), 201)
    again = Agent("agent-1", scenario.user)
    set_limits(bytes_per_day=10**9)
    (command,) = again.commands()
    assert command["attempt"] == 2
    body = {"offset": 0, "data": "second attempt", "attempt": 2}
    assert ok(scenario.user.post("/api/tasks/task-1/logs", body))["truncated"] is False


def test_small_chunk_of_a_log_costs_no_further_request(scenario: Scenario, agent: Agent, poller: EventPoller) -> None:
    scenario.start_task(agent)
    before, end, requests = used()["bytes"], 0, []
    for size in (10, 10, 255 * KB, KB, 10):
        with aws_requests.recorded() as sent:
            end = append(agent, end, "x" * size)["nextOffset"]
        requests.append(len(sent.to("dynamodb")))
    assert requests == [3, 3, 3, 4, 3]
    assert used()["bytes"] == before + 256 * KB
    ok(agent.complete("task-1"))
    poller.drain()
    assert used()["bytes"] == before + (256 + 16) * KB


def test_log_after_the_end_is_counted(scenario: Scenario, agent: Agent, poller: EventPoller) -> None:
    scenario.start_task(agent)
    end = append(agent, 0, "x" * KB)["nextOffset"]
    ok(agent.complete("task-1"))
    poller.drain()
    before = used()["bytes"]
    end = append(agent, end, "x" * KB)["nextOffset"]
    assert used()["bytes"] == before
    append(agent, end, "x" * 100 * KB)
    assert used()["bytes"] == before + 96 * KB


def test_first_write_of_a_day_is_repeated_if_another_was_faster(aws: None) -> None:
    quotas.count_task(OWNER, "task-1", 10, NOW)
    tomorrow = NOW + DAY

    def other() -> None:
        quotas.count_end(OWNER, "task-1", 7, NOW + MINUTE, tomorrow)

    with faults.interleaved("UpdateItem", other, when=faults.about("#4 = :4 ADD")) as interleaved:
        quotas.count_task(OWNER, "task-1", 10, tomorrow)
    assert interleaved.affected
    assert used() == {"open": 1, "tasks": 1, "bytes": 17}


def test_count_gives_up_if_other_writers_are_always_faster(aws: None, set_limits: SetLimits) -> None:
    quotas.count_task(OWNER, "task-1", 10, NOW)
    before = used()
    with (
        faults.refused("UpdateItem", "ConditionalCheckFailedException", times=99, when=faults.about("~open#")),
        pytest.raises(Unavailable),
    ):
        quotas.count_task(OWNER, "task-2", 10, NOW)
    with faults.refused("UpdateItem", "ConditionalCheckFailedException", times=99, when=faults.about("~open#")):
        quotas.count_end(OWNER, "task-1", 10, NOW, NOW)
    assert used() == before


def store_open_task(task_id: str) -> None:
    """Store what a recount finds of an open task."""
    head = {"pk": f"{OWNER}#{task_id}", "sk": "H", "owner": OWNER, "status": "queued", "ownerStatus": f"{OWNER}#queued"}
    item: Any = {name: {"S": value} for name, value in head.items()} | {"createdAt": {"N": str(NOW)}}
    boto3.client("dynamodb").put_item(TableName="devflow-local-tasks", Item=item)


def test_recount_counts_a_backlog_up_to_the_maximum(aws: None, set_limits: SetLimits) -> None:
    set_limits(open_tasks_per_user=30)
    for number in range(30):
        quotas.count_task(OWNER, f"task-{number}", 10, NOW)
        store_open_task(f"task-{number}")
    set_limits(open_tasks_per_user=20)
    with pytest.raises(quota_rules.TooManyOpenTasks):
        quotas.count_task(OWNER, "task-30", 10, NOW + 2 * MINUTE)
    assert used()["open"] == 30


def test_rows_of_an_owner_expire_after_its_last_task(aws: None) -> None:
    quotas.count_task(OWNER, "task-1", 10, NOW)
    rows = [row for row in invariants.rows("tasks") if row["sk"] == "U"]
    assert len(rows) == SHARDS
    assert {row["expiresAt"] for row in rows} == {(NOW + 60 * DAY) // 1_000}
    assert settings.tasks_per_day == 100_000
