"""The cost of a call must not depend on the amount of stored data. This test detects a wrong key before production.

It measures requests and units on Amazon's DynamoDB Local with 10, 1,000 and 100,000 agents and tasks. There are two
distributions: many users with ten agents and tasks each, and one user with all tasks and 1,000 agents, the limit. The
cost at the largest size may be at most 1.2 times the cost at the smallest.

Three costs grow by design, up to a bound. For these only the growth from 1,000 on is measured:

- The first page of a list counts its rows. It reads up to 1,001 rows of a narrow index for `total`, which is exact up
  to 1,000. The cursor contains the total for later pages. If a filter has no index, later pages read as many rows.
- A poll reads the first page of its user's queue, which is 50 rows of a narrow index. If the queue is longer, it reads
  the first page of each capability.
- A sweep calculates its gauges from one page of each shard, which costs half a unit. DynamoDB Local reports zero units
  for an empty page, while AWS bills half a unit.

The units of transactions are those of DynamoDB Local, which are more than AWS bills; see tests/support/units.py.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.budget_world import WORK, cache_queue_urls, register
from tests.long import load, scale
from tests.long.scale import DUE, FACTOR, ONE, SIZES, START, MakeUser
from tests.support import costs, dynamodb_local, moto_aws
from tests.support.client import Client
from tests.support.costs import Cost

ALL = "the sweep"
OVERDUE = 5
"""The number of agents and of tasks that are due in the measured sweep."""

Key = tuple[str, str]


@dataclass
class Measured:
    """The cost of each call at each size, by the name of the call and the distribution."""

    costs: dict[Key, dict[int, Cost]] = field(default_factory=dict)
    bounded: set[Key] = field(default_factory=set)
    """Calls whose cost may grow between the first two sizes."""
    too_many_rows: list[str] = field(default_factory=list)
    """Descriptions of pages that read too many rows."""

    def add(self, size: int, call: str, users: str, cost: Cost, *, bounded: bool = False) -> None:
        self.costs.setdefault((call, users), {})[size] = cost
        if bounded:
            self.bounded.add((call, users))

    def table(self) -> str:
        header = ["call", "users", "requests", "read units", "write units", "flat from"]
        rows = []
        for key, found in sorted(self.costs.items(), key=lambda item: item[0][1]):
            at_each = [_figures(found[size]) if size in found else ("-",) * 3 for size in SIZES]
            rows.append([*key, *[_series(numbers) for numbers in zip(*at_each, strict=True)], f"{self._since(key):,}"])
        return costs.table(header, rows)

    def grown(self) -> list[str]:
        """Descriptions of costs that grew by more than the factor."""
        return [
            f"{key[0]} ({key[1]}): {figure} {_series(numbers)}"
            for key, found in self.costs.items()
            for figure, numbers in zip(FIGURES, self._by_figure(key, found), strict=False)
            if max(numbers) > FACTOR * numbers[0]
        ]

    def _by_figure(self, key: Key, found: dict[int, Cost]) -> Iterator[tuple[float, ...]]:
        """Each figure of a call, at the sizes from which on it must be flat."""
        return zip(*[_figures(found[size]) for size in sorted(found) if size >= self._since(key)], strict=True)

    def _since(self, key: Key) -> int:
        return SIZES[1 if key in self.bounded else 0]


FIGURES = ("requests", "read units", "write units")


def _figures(cost: Cost) -> tuple[float, float, float]:
    return len(cost.requests), cost.read, cost.write


def _series(numbers: Iterable[float | str]) -> str:
    return " / ".join(number if isinstance(number, str) else f"{number:g}" for number in numbers)


@dataclass
class Platform:
    """The platform at one size, with its measurements."""

    endpoint: str
    poller: EventPoller
    clock: Clock
    size: int
    measured: Measured

    def measure(self, name: str, users: str, call: Callable[[], Any], *, bounded: bool = False) -> None:
        self.measured.add(self.size, name, users, costs.measured(call), bounded=bounded)

    def move_clock_to(self, instant: int) -> None:
        self.clock.advance((instant - self.clock.now) / SECOND)


LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "tasks": ("/api/tasks", {}),
    "tasks of a status": ("/api/tasks", {"status": "completed"}),
    "tasks of an agent": ("/api/tasks", {"agentId": "agent-00000"}),
    "tasks of an intent": ("/api/tasks", {"intent": "fix-bug"}),
    "agents": ("/api/agents", {}),
}
FILTERED_LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "tasks of a status and an intent": ("/api/tasks", {"status": "completed", "intent": "fix-bug"}),
    "tasks, none of which matches": ("/api/tasks", {"status": "completed", "intent": "feature"}),
    "agents of a status": ("/api/agents", {"status": "active"}),
    "agents that can": ("/api/agents", {"capability": "feature"}),
}
"""Lists with filters that have no index. They read more rows than they return."""


def measure_lists(platform: Platform, users: str, user: Client) -> None:
    """Measure the first page of each list, and the most expensive of its later pages."""
    for name, (path, filters) in (LISTS | FILTERED_LISTS).items():
        first, response = _page(user, path, filters)
        later: list[Cost] = []
        while len(later) < 3 and (cursor := response.json()["nextCursor"]) is not None:
            page, response = _page(user, path, filters | {"cursor": cursor})
            later.append(page)
        add, size, grows = platform.measured.add, platform.size, users == ONE
        add(size, f"{name}, first page", users, first, bounded=grows)
        if later:
            worst = max(later, key=_figures)
            add(size, f"{name}, later page", users, worst, bounded=grows and name in FILTERED_LISTS)
        read = max(map(_examined, [first, *later]))
        if read > EXACT_TOTAL_LIMIT + 1:
            platform.measured.too_many_rows.append(f"{name}: {read:,} rows read for one page at {platform.size:,}")


def _page(user: Client, path: str, query: dict[str, str]) -> tuple[Cost, Response]:
    responses: list[Response] = []

    def call() -> Response:
        responses.append(user.get(path, query | {"limit": "2"}))
        return responses[-1]

    return costs.measured(call), responses[0]


def _examined(cost: Cost) -> int:
    """The number of rows that the queries of a call have read."""
    return sum(request.response["ScannedCount"] for request in cost.sent if request.operation == "Query")


def measure_work(platform: Platform, users: str, user: Client) -> None:
    """Measure the calls of an agent: heartbeats, polls, claims and reports."""
    measure, grows = platform.measure, users == ONE
    agent, idler = register(user, "measured", "feature"), register(user, "idler", "review-pr")
    spanner = register(user, "spanner", "explain", "review-pr")  # the queue's index has `feature` between these
    agent.heartbeat()
    measure("heartbeat", users, agent.heartbeat)
    idler.poll()
    measure("poll, idle", users, idler.poll)
    measure("poll, idle, others' queue", users, spanner.poll, bounded=grows)
    claimed: list[str] = []

    def claim() -> None:
        claimed.extend(command["task_id"] for command in agent.poll(limit=1).json()["commands"])

    measure("poll that claims", users, claim, bounded=grows)
    (task,) = claimed
    measure("poll that finds its claim", users, lambda: agent.poll(limit=1))
    measure("progress, first", users, lambda: agent.progress(task))
    measure("progress, same step", users, lambda: agent.progress(task, progress=0.7))
    measure("progress, new step", users, lambda: agent.progress(task, "Opening the pull request"))
    measure("complete", users, lambda: agent.complete(task))
    platform.poller.drain()
    work = WORK | {"taskId": "submitted", "intent": "feature"}
    measure("submit", users, lambda: user.post("/api/workflows/execute", work))
    measure("its message", users, platform.poller.drain)
    platform.move_clock_to(START + MINUTE)
    measure("heartbeat, first of a minute", users, agent.heartbeat)


def measure_sweeps(platform: Platform) -> None:
    """Measure sweeps. This must be last, because it moves the clock. No other row is due by then."""
    platform.move_clock_to(DUE - 5 * SECOND)
    platform.poller.sweep()
    platform.measure("sweep, idle", ALL, platform.poller.sweep, bounded=True)
    load.load(platform.endpoint, scale.overdue("user-11111111-1111-4111-8111-111111111111", OVERDUE))
    platform.move_clock_to(DUE + 15 * SECOND)
    platform.measure(f"sweep, {OVERDUE} agents and {OVERDUE} tasks due", ALL, platform.poller.sweep, bounded=True)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_cost_of_a_call_does_not_grow_with_the_amount_of_data(
    true_dynamodb: str, make_user: MakeUser, poller: EventPoller, clock: Clock
) -> None:
    cache_queue_urls()
    measured = Measured()
    for size in SIZES:
        start = time.monotonic()
        dynamodb_local.create_tables(true_dynamodb)
        moto_aws.empty()
        clock.advance((START - clock.now) / SECOND)
        platform = Platform(true_dynamodb, poller, clock, size, measured)
        measurable = scale.populate(true_dynamodb, make_user, size)
        print(f"\n{size:,} agents and tasks loaded in {time.monotonic() - start:.0f} s", file=sys.stderr)
        for users, user in measurable.items():
            platform.move_clock_to(START)
            measure_lists(platform, users, user)
            measure_work(platform, users, user)
        measure_sweeps(platform)
    print(f"\nAt {' / '.join(f'{size:,}' for size in SIZES)}:\n{measured.table()}", file=sys.stderr)
    found = measured.grown() + measured.too_many_rows
    assert not found, "\n".join(found)
