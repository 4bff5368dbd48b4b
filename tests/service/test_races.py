"""Promises 2, 3 and 4 where two writers meet: over and over the same two calls at once, and never two winners.

Each contest is of two writes, so five hundred contests are a thousand contested writes. Every one begins with the same
rows, put back into moto's memory (whose writes are atomic under its lock), and ends with a look at all rows and both
answers. The clock does not decide who is first; the threads do.
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
from tests.http.scene import Scene
from tests.service import invariants
from tests.service.conftest import Sharded
from tests.support import moto_aws, wire

Call = Callable[[], Response | None]


KEYS = {"tasks": ("pk", "sk"), "agents": ("owner", "agent"), "users": ("owner",)}
"""The tables that contests change, and their keys."""


class StoredRows:
    """`moto_aws.Kept` of a true DynamoDB: what is there now is written again, and what came since is deleted."""

    def __init__(self) -> None:
        self._client = boto3.client("dynamodb")
        self._kept = {table: {_key(table, row): row for row in moto_aws.rows(table)} for table in KEYS}

    def put_back(self) -> None:
        moto_aws.empty_queues()
        for table, kept in self._kept.items():
            came = [dict(key) for row in moto_aws.rows(table) if (key := _key(table, row)) not in kept]
            wanted: list[Any] = [{"PutRequest": {"Item": row}} for row in kept.values()]
            wanted += [{"DeleteRequest": {"Key": {name: {"S": value} for name, value in key.items()}}} for key in came]
            for start in range(0, len(wanted), 25):
                self._client.batch_write_item(RequestItems={f"devflow-local-{table}": wanted[start : start + 25]})


def _key(table: str, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, row[name]["S"]) for name in KEYS[table])


@dataclass(frozen=True)
class Contest:
    """Two calls at once, and what may come of them: pairs of statuses (None: no answer), and the task's state then."""

    first: Call
    second: Call
    outcomes: set[tuple[int | None, int | None, str]]


Prepare = Callable[[Scene, Clock, EventPoller], Contest]


def two_agents_claiming(scene: Scene, clock: Clock, poller: EventPoller) -> Contest:
    one, two = scene.agent("agent-1"), scene.agent("agent-2")
    scene.queued()
    return Contest(one.poll, two.poll, {(200, 200, "assigned")})


def complete_against_cancel(scene: Scene, clock: Clock, poller: EventPoller) -> Contest:
    agent = scene.agent()
    task = scene.running(agent)
    return Contest(
        lambda: agent.complete(task),
        lambda: scene.user.post(f"/api/tasks/{task}/cancel"),
        {(200, 200, "completed"), (200, 409, "completed")},  # cancelled first, it still wins: within the grace
    )


def complete_against_timeout(scene: Scene, clock: Clock, poller: EventPoller) -> Contest:
    agent = scene.agent()
    task = scene.running(agent, timeoutSeconds=60)
    clock.advance(61)
    return Contest(lambda: agent.complete(task), poller.sweep, {(200, None, "completed"), (409, None, "failed")})


def progress_against_requeue(scene: Scene, clock: Clock, poller: EventPoller) -> Contest:
    agent = scene.agent()
    task = scene.claimed(agent)
    clock.advance(61)
    return Contest(lambda: agent.progress(task), poller.sweep, {(200, None, "in_progress"), (409, None, "queued")})


def rotate_against_report(scene: Scene, clock: Clock, poller: EventPoller) -> Contest:
    agent = scene.agent()
    task = scene.running(agent)
    return Contest(
        lambda: agent.complete(task),
        lambda: scene.user.post("/api/agents/agent-1/token"),
        {(200, 201, "completed"), (401, 201, "in_progress")},
    )


KINDS: list[Prepare] = [
    two_agents_claiming,
    complete_against_cancel,
    complete_against_timeout,
    progress_against_requeue,
    rotate_against_report,
]


def contend(
    times: int, prepare: Prepare, scene: Scene, clock: Clock, poller: EventPoller
) -> dict[tuple[Any, ...], int]:
    """Let two writes meet so many times, which are twice as many contested writes: how often each outcome came.

    AssertionError for one that may not be.
    """
    contest = prepare(scene, clock, poller)
    rows = StoredRows() if wire.is_redirected("dynamodb") else moto_aws.Kept()
    seen: dict[tuple[Any, ...], int] = {}
    start = threading.Barrier(2)

    def run(call: Call, late: float) -> int | None:
        start.wait()
        time.sleep(late)  # threads, not the platform's clock: each gets its chance of being first
        answer = call()
        return None if answer is None else answer.status

    with ThreadPoolExecutor(2) as pool:
        for number in range(times):
            rows.put_back()
            late = (number % 8) * 0.003
            lates = (late, 0.0) if number % 3 else (0.0, late)
            first, second = pool.map(run, (contest.first, contest.second), lates)
            (head,) = invariants.heads()
            outcome = (first, second, str(head["status"]))
            assert outcome in contest.outcomes, outcome
            invariants.hold()
            seen[outcome] = seen.get(outcome, 0) + 1
    return seen


@pytest.fixture
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("prepare", KINDS, ids=lambda kind: str(kind.__name__))
def test_a_thousand_contested_writes_have_no_double_winner(
    prepare: Prepare, user_scene: Scene, clock: Clock, poller: EventPoller, without_limits: None, still: None
) -> None:
    print(prepare.__name__, contend(500, prepare, user_scene, clock, poller))


@pytest.mark.long
@pytest.mark.parametrize("prepare", KINDS, ids=lambda kind: str(kind.__name__))
def test_ten_thousand_contested_writes_have_no_double_winner(
    prepare: Prepare, user_scene: Scene, clock: Clock, poller: EventPoller, without_limits: None, still: None
) -> None:
    print(prepare.__name__, contend(5_000, prepare, user_scene, clock, poller))


@pytest.mark.long
@pytest.mark.parametrize("prepare", KINDS, ids=lambda kind: str(kind.__name__))
def test_on_amazons_own_dynamodb_ten_thousand_contested_writes_have_no_double_winner(
    prepare: Prepare,
    true_dynamodb: str,
    user_scene: Scene,
    clock: Clock,
    poller: EventPoller,
    without_limits: None,
    still: None,
) -> None:
    print(prepare.__name__, contend(5_000, prepare, user_scene, clock, poller))


@pytest.fixture
def user_scene(user: Any, poller: EventPoller, sharded: Sharded) -> Scene:
    sharded(1)
    return Scene(user, poller)


def test_of_many_agents_polling_at_once_each_task_has_one(
    user_scene: Scene, clock: Clock, without_limits: None
) -> None:
    """The index shows all of them the same head; they spread over the queue, and nobody gets what another has."""
    agents = [user_scene.agent(f"agent-{number}", concurrency=2) for number in range(12)]
    user_scene.queued(*(f"task-{number}" for number in range(20)))
    with ThreadPoolExecutor(12) as pool:
        for _ in range(4):
            polled = list(pool.map(lambda agent: agent.claims(limit=2), agents))
    claimed = list(itertools.chain(*polled))
    assert len(claimed) == len(set(claimed)) == 20
    invariants.hold()
