"""Promises 2, 3 and 4 of docs/states.md in races: two concurrent calls, repeated many times, never have two winners.

A race has two writes, so five hundred races are a thousand contested writes. Every race starts with the same rows,
which are restored in moto's memory (its lock makes writes atomic). Every race ends with a check of all rows and of both
responses. The threads decide which call is first, not the platform's clock.
"""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest

from chalicelib.core.settings import settings
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.scenario import Scenario
from tests.service import invariants
from tests.service.conftest import SetShards
from tests.support import aws_requests, moto_aws

Call = Callable[[], Response | None]


KEYS = {"tasks": ("pk", "sk"), "agents": ("owner", "agent"), "users": ("owner",)}
"""The tables that races change, and their keys."""


class StoredRows:
    """A `moto_aws.Snapshot` for DynamoDB Local. `restore` writes the saved rows and deletes all others."""

    def __init__(self) -> None:
        self._client = boto3.client("dynamodb")
        self._saved = {table: {_key(table, row): row for row in moto_aws.rows(table)} for table in KEYS}

    def restore(self) -> None:
        moto_aws.empty_queues()
        for table, saved in self._saved.items():
            new = [dict(key) for row in moto_aws.rows(table) if (key := _key(table, row)) not in saved]
            writes: list[Any] = [{"PutRequest": {"Item": row}} for row in saved.values()]
            writes += [{"DeleteRequest": {"Key": {name: {"S": value} for name, value in key.items()}}} for key in new]
            for start in range(0, len(writes), 25):
                self._client.batch_write_item(RequestItems={f"devflow-local-{table}": writes[start : start + 25]})


def _key(table: str, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, row[name]["S"]) for name in KEYS[table])


@dataclass(frozen=True)
class Race:
    """Two concurrent calls and their possible outcomes.

    An outcome is the statuses of both responses (None if a call has no response) and the final status of the task.
    """

    first: Call
    second: Call
    outcomes: set[tuple[int | None, int | None, str]]


Prepare = Callable[[Scenario, Clock, EventPoller], Race]


def two_agents_claiming(scenario: Scenario, clock: Clock, poller: EventPoller) -> Race:
    one, two = scenario.agent("agent-1"), scenario.agent("agent-2")
    scenario.queue_tasks()
    return Race(one.poll, two.poll, {(200, 200, "assigned")})


def complete_against_cancel(scenario: Scenario, clock: Clock, poller: EventPoller) -> Race:
    agent = scenario.agent()
    task = scenario.start_task(agent)
    return Race(
        lambda: agent.complete(task),
        lambda: scenario.user.post(f"/api/tasks/{task}/cancel"),
        {(200, 200, "completed"), (200, 409, "completed")},  # after the cancel it still succeeds: in the grace period
    )


def complete_against_timeout(scenario: Scenario, clock: Clock, poller: EventPoller) -> Race:
    agent = scenario.agent()
    task = scenario.start_task(agent, timeoutSeconds=60)
    clock.advance(61)
    return Race(lambda: agent.complete(task), poller.sweep, {(200, None, "completed"), (409, None, "failed")})


def progress_against_requeue(scenario: Scenario, clock: Clock, poller: EventPoller) -> Race:
    agent = scenario.agent()
    task = scenario.claim_task(agent)
    clock.advance(61)
    return Race(lambda: agent.progress(task), poller.sweep, {(200, None, "in_progress"), (409, None, "queued")})


def rotate_against_report(scenario: Scenario, clock: Clock, poller: EventPoller) -> Race:
    agent = scenario.agent()
    task = scenario.start_task(agent)
    return Race(
        lambda: agent.complete(task),
        lambda: scenario.user.post("/api/agents/agent-1/token"),
        {(200, 201, "completed"), (401, 201, "in_progress")},
    )


RACES: list[Prepare] = [
    two_agents_claiming,
    complete_against_cancel,
    complete_against_timeout,
    progress_against_requeue,
    rotate_against_report,
]


def race(
    times: int, prepare: Prepare, scenario: Scenario, clock: Clock, poller: EventPoller
) -> dict[tuple[Any, ...], int]:
    """Run a race `times` times, with two contested writes each. Returns the number of times of each outcome.

    Raises AssertionError for an impossible outcome.
    """
    calls = prepare(scenario, clock, poller)
    rows = StoredRows() if aws_requests.is_redirected("dynamodb") else moto_aws.Snapshot()
    outcomes: dict[tuple[Any, ...], int] = {}
    start = threading.Barrier(2)

    def run(call: Call, delay: float) -> int | None:
        start.wait()
        time.sleep(delay)  # so that each call is first in some of the races
        response = call()
        return None if response is None else response.status

    with ThreadPoolExecutor(2) as pool:
        for number in range(times):
            rows.restore()
            delay = (number % 8) * 0.003
            delays = (delay, 0.0) if number % 3 else (0.0, delay)
            first, second = pool.map(run, (calls.first, calls.second), delays)
            (head,) = invariants.heads()
            outcome = (first, second, str(head["status"]))
            assert outcome in calls.outcomes, outcome
            invariants.check()
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


@pytest.fixture
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("prepare", RACES, ids=lambda prepare: str(prepare.__name__))
def test_a_thousand_contested_writes_never_have_two_winners(
    prepare: Prepare,
    user_scenario: Scenario,
    clock: Clock,
    poller: EventPoller,
    without_limits: None,
    frozen_time: None,
) -> None:
    print(prepare.__name__, race(500, prepare, user_scenario, clock, poller))


@pytest.mark.long
@pytest.mark.parametrize("prepare", RACES, ids=lambda prepare: str(prepare.__name__))
def test_ten_thousand_contested_writes_never_have_two_winners(
    prepare: Prepare,
    user_scenario: Scenario,
    clock: Clock,
    poller: EventPoller,
    without_limits: None,
    frozen_time: None,
) -> None:
    print(prepare.__name__, race(5_000, prepare, user_scenario, clock, poller))


@pytest.mark.long
@pytest.mark.parametrize("prepare", RACES, ids=lambda prepare: str(prepare.__name__))
def test_contested_writes_on_dynamodb_local_never_have_two_winners(
    prepare: Prepare,
    true_dynamodb: str,
    user_scenario: Scenario,
    clock: Clock,
    poller: EventPoller,
    without_limits: None,
    frozen_time: None,
) -> None:
    print(prepare.__name__, race(5_000, prepare, user_scenario, clock, poller))


@pytest.fixture
def user_scenario(user: Any, poller: EventPoller, set_shards: SetShards) -> Scenario:
    set_shards(1)
    return Scenario(user, poller)


def test_each_task_is_claimed_once_by_many_concurrent_polls(
    user_scenario: Scenario, clock: Clock, without_limits: None
) -> None:
    """The index returns the same tasks to all agents. They choose different ones, and no task is claimed twice."""
    agents = [user_scenario.agent(f"agent-{number}", concurrency=2) for number in range(12)]
    user_scenario.queue_tasks(*(f"task-{number}" for number in range(20)))
    with ThreadPoolExecutor(12) as pool:
        for _ in range(4):
            polled = list(pool.map(lambda agent: agent.claims(limit=2), agents))
    claimed = list(itertools.chain(*polled))
    assert len(claimed) == len(set(claimed)) == 20
    invariants.check()
