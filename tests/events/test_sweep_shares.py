"""How a run of the sweep divides its time among kinds and shards, and what it hands out to other processes."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.auth import store as users
from chalicelib.core import clock as server_clock
from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.orchestration import due_work
from tests.conftest import Clock
from tests.events.conftest import bodies
from tests.http.scenario import Scenario
from tests.http.webhook_helpers import create_webhook
from tests.long import load
from tests.service import faults, invariants
from tests.service.conftest import SetShards
from tests.support import aws_requests, moto_aws
from tests.support.due_rows import KINDS, due, due_rows
from tests.support.handlers import Handlers, time_per_request

SHARDS = 3
MANY = 48
"""Due rows of each kind, in all shards together."""

EVERYTHING = {(kind, shard) for kind in KINDS for shard in range(SHARDS)}
TIME_LIMIT = 50 * SECOND
"""The time limit of the function, as in .chalice/config.json."""
TIME_TO_STOP = 5 * SECOND


@pytest.fixture(autouse=True)
def three_shards(one_shard: None, set_shards: SetShards) -> None:
    set_shards(SHARDS)


@pytest.fixture
def backlog(handlers: Handlers, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> int:
    """Due rows of every kind in every shard. Returns the present time, which is always the same, and so are the shards
    of the rows."""
    monkeypatch.setattr(server_clock, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))
    monkeypatch.setattr(server_clock, "_shifted_ms", 0)
    users.create_user("user-1", "user@example.com", "John Doe", "1", "-", clock.now)
    load.load(None, due_rows("user-1", MANY, clock.now))
    found = due(clock.now)
    assert set(found) == EVERYTHING
    assert min(found.values()) > due_work.CONCURRENCY
    return clock.now


def handed_out() -> list[tuple[str, int]]:
    return [(body["kind"], body["shard"]) for body in bodies("sweep")]


def test_run_that_is_too_short_for_all_makes_progress_with_every_kind_and_shard(
    handlers: Handlers, backlog: int
) -> None:
    before = due(backlog)
    with time_per_request(100, TIME_LIMIT) as left:
        handlers.sweep(left)
    after = due(backlog)
    assert all(after.get(key, 0) < before[key] for key in EVERYTHING), (before, after)
    assert sum(after.values()) > sum(before.values()) / 4, "the run was much too short"
    assert sorted(handed_out()) == sorted(after), "one message for each kind and shard with rows that are left"


def test_other_processes_finish_what_was_handed_out(handlers: Handlers, backlog: int) -> None:
    with time_per_request(100, TIME_LIMIT) as left:
        handlers.sweep(left)
    messages = bodies("sweep")
    assert messages
    for message in messages:
        assert handlers.batch("sweep_backlog", message) == []
    assert due(backlog) == {}
    assert len(bodies("sweep")) == len(messages), "a process hands out nothing itself"
    statuses = Counter(head["status"] for head in invariants.heads())
    assert statuses == {"failed": MANY // 2, "queued": MANY // 2}
    assert {row["state"] for row in invariants.rows("agents")} == {"inactive"}
    assert Counter(body["webhook"] for body in bodies("webhooks")) == {"webhook-1": MANY}


def test_process_stops_when_the_next_run_begins(handlers: Handlers, backlog: int, clock: Clock) -> None:
    """So the processes that work on one kind and shard cannot multiply, whatever their own time limit is."""
    message = {"kind": "tasks", "shard": 0, "until": backlog + 2 * SECOND}
    before = due(backlog)["tasks", 0]
    with time_per_request(200, 10 * MINUTE) as left, aws_requests.recorded() as sent:
        assert handlers.batch("sweep_backlog", message, left=left) == []
    assert 0 < due(backlog)["tasks", 0] < before
    assert 10 <= len(sent) <= 10 + 3 * due_work.CONCURRENCY, "two seconds, and the rows that were begun"


def test_message_that_arrives_after_the_next_run_has_no_effect(handlers: Handlers, backlog: int) -> None:
    before = due(backlog)
    messages = [{"kind": kind, "shard": shard, "until": backlog} for kind, shard in EVERYTHING]
    with aws_requests.recorded() as sent:
        for message in messages:
            assert handlers.batch("sweep_backlog", message) == []
    assert due(backlog) == before
    assert sent == []


def test_process_stops_before_its_own_time_is_up(handlers: Handlers, backlog: int) -> None:
    before = due(backlog)["events", 1]
    message = {"kind": "events", "shard": 1, "until": backlog + 10 * MINUTE}
    with time_per_request(200, TIME_TO_STOP + 2 * SECOND) as left:
        assert handlers.batch("sweep_backlog", message, left=left) == []
    assert 0 < due(backlog)["events", 1] < before


def test_runs_take_turns_with_the_first_shard(handlers: Handlers, clock: Clock, frozen_time: None) -> None:
    first = []
    for _ in range(2 * SHARDS):
        with aws_requests.recorded() as sent:
            handlers.sweep()
        values = next(request for request in sent if request.operation == "Query").params["ExpressionAttributeValues"]
        first.append(int(next(iter(values.values()))["N"]))
        clock.advance(60)
    assert first[:SHARDS] == first[SHARDS:]
    assert sorted(first[:SHARDS]) == list(range(SHARDS))


def test_deadlines_come_before_events(handlers: Handlers, backlog: int) -> None:
    with aws_requests.recorded() as sent:
        handlers.sweep()
    read = [
        next(iter(request.tables)) + request.params["IndexName"] for request in sent if "IndexName" in request.params
    ]
    order = list(dict.fromkeys(read))
    expected = ["tasksdue", "agentslive", "webhooksdue", "agentsnews"]
    assert [name.removeprefix("devflow-local-") for name in order] == expected


def test_many_unpublished_events_do_not_delay_deadlines(
    handlers: Handlers, clock: Clock, frozen_time: None, set_shards: SetShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are in one index, and the events are due first."""
    set_shards(1)
    monkeypatch.setattr(due_work, "PAGE_SIZE", 10)
    monkeypatch.setattr(due_work, "FILTERED_PAGE_SIZE", 20)
    users.create_user("user-1", "user@example.com", "John Doe", "1", "-", clock.now)
    rows = [row for row in due_rows("user-1", MANY, clock.now) if "checkAt" not in row[1] and "nextAt" not in row[1]]
    load.load(None, rows)
    assert due(clock.now) == {("tasks", 0): MANY, ("events", 0): MANY}
    with time_per_request(100, TIME_TO_STOP + 8 * SECOND) as left:
        handlers.sweep(left)
    after = due(clock.now)
    assert after["tasks", 0] < MANY
    assert after["events", 0] < MANY
    handlers.sweep()
    assert due(clock.now) == {}


def test_sweep_uses_its_own_time_if_its_queue_is_unreachable(handlers: Handlers, backlog: int) -> None:
    before = due(backlog)
    with (
        faults.refused("SendMessage", "ServiceUnavailable", status=503, times=9999, when=faults.about("kind")),
        time_per_request(50, TIME_TO_STOP + 50 * SECOND) as left,
    ):
        handlers.sweep(left)
    assert bodies("sweep") == []
    spent_alone = sum(before.values()) - sum(due(backlog).values())
    assert spent_alone * 3 * 50 > 20 * SECOND, "more than its share of a run with other processes"


def test_index_that_cannot_be_read_does_not_stop_the_others(handlers: Handlers, backlog: int, no_pauses: None) -> None:
    failing = faults.about('"live"')
    with (
        faults.refused("Query", "InternalServerError", status=500, times=9999, when=failing),
        pytest.raises(Exception, match="could not read"),
    ):
        handlers.sweep()
    assert {kind for kind, _ in due(backlog)} == {"agents"}
    handlers.sweep()
    assert due(backlog) == {}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        {"kind": "tasks"},
        {"kind": "users", "shard": 0, "until": 1},
        {"kind": "tasks", "shard": -1, "until": 1},
    ],
)
def test_unknown_message_of_the_sweep_queue_is_dropped(handlers: Handlers, body: Any) -> None:
    with aws_requests.recorded() as sent:
        assert handlers.batch("sweep_backlog", body) == []
    assert sent == []


def test_other_process_publishes_events_to_webhooks(
    scenario: Scenario, handlers: Handlers, clock: Clock, owner: str
) -> None:
    hook = create_webhook(scenario.user, "http://localhost:9/", "task.created")
    scenario.queue_tasks(*[f"task-{number}" for number in range(6)])
    moto_aws.empty_queues()
    clock.advance(121)
    for shard in range(SHARDS):
        message = {"kind": "events", "shard": shard, "until": clock.now + MINUTE}
        assert handlers.batch("sweep_backlog", message) == []
    assert [delivery["event"] for delivery in hook.deliveries()] == ["task.created"] * 6
    assert len(bodies("webhooks")) == 6
