"""What a call costs may not depend on how much there is: a wrong key shows here, and nowhere sooner.

Requests and units on Amazon's DynamoDB Local at 10, 1,000 and 100,000 agents and as many tasks, twice over: spread
over many users (ten of each), and one user with all the tasks (and as many agents as one may have, 1,000). At most 1.2
times as much at the largest size as at the smallest.

Three things grow by design, up to a bound, and are measured apart, from 1,000 on:

- The first page of a list counts: it reads up to 1,001 rows of a narrow index for its `total`, exact up to 1,000. A
  page reached by cursor takes the total along. Where a filter has no index of its own, later pages read as many rows.
- A poll reads the first page of its user's queue, 50 rows of a narrow index; where that is not all, each capability's.
- A sweep tells figures from a page of what there is, half a unit a shard; where that is nothing, DynamoDB Local counts
  nothing. (AWS bills half a unit for that, too.)

Units of transactions are what DynamoDB Local counts, which is more than AWS bills; see tests/support/units.py.
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
from tests.http.budget_world import WORK, find_queues, register
from tests.long import load, scale
from tests.long.scale import DUE, FACTOR, ONE, SIZES, START, MakeUser
from tests.support import costs, dynamodb_local, moto_aws
from tests.support.client import Client
from tests.support.costs import Cost

ALL = "the sweep"
STALE = 5
"""So many agents and so many tasks are due when a sweep that finds something is measured."""

Key = tuple[str, str]


@dataclass
class Measured:
    """The cost of each call, by its name and whose it was, at each size."""

    costs: dict[Key, dict[int, Cost]] = field(default_factory=dict)
    bounded: set[Key] = field(default_factory=set)
    """Calls that may grow between the first two sizes."""
    beyond: list[str] = field(default_factory=list)
    """Pages that read more rows than they may."""

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
        """What grew by more than the factor, and how."""
        return [
            f"{key[0]} ({key[1]}): {figure} {_series(numbers)}"
            for key, found in self.costs.items()
            for figure, numbers in zip(FIGURES, self._by_figure(key, found), strict=False)
            if max(numbers) > FACTOR * numbers[0]
        ]

    def _by_figure(self, key: Key, found: dict[int, Cost]) -> Iterator[tuple[float, ...]]:
        """Each figure of a call at every size from which on it is to be flat."""
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
    """What there is at one size, and how it is measured."""

    endpoint: str
    poller: EventPoller
    clock: Clock
    size: int
    measured: Measured

    def take(self, call: str, users: str, act: Callable[[], Any], *, bounded: bool = False) -> None:
        self.measured.add(self.size, call, users, costs.measured(act), bounded=bounded)

    def at(self, instant: int) -> None:
        self.clock.advance((instant - self.clock.now) / SECOND)


LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "tasks": ("/api/tasks", {}),
    "tasks of a status": ("/api/tasks", {"status": "completed"}),
    "tasks of an agent": ("/api/tasks", {"agentId": "agent-00000"}),
    "tasks of an intent": ("/api/tasks", {"intent": "fix-bug"}),
    "agents": ("/api/agents", {}),
}
SIFTED: dict[str, tuple[str, dict[str, str]]] = {
    "tasks of a status and an intent": ("/api/tasks", {"status": "completed", "intent": "fix-bug"}),
    "tasks, none of which matches": ("/api/tasks", {"status": "completed", "intent": "feature"}),
    "agents of a status": ("/api/agents", {"status": "active"}),
    "agents that can": ("/api/agents", {"capability": "feature"}),
}
"""Lists whose filter no index has: they read more rows than they show."""


def measure_lists(platform: Platform, users: str, user: Client) -> None:
    """First pages, and the worst of those that cursors lead to."""
    for name, (path, filters) in (LISTS | SIFTED).items():
        first, answer = _page(user, path, filters)
        later: list[Cost] = []
        while len(later) < 3 and (cursor := answer.json()["nextCursor"]) is not None:
            page, answer = _page(user, path, filters | {"cursor": cursor})
            later.append(page)
        add, size, grows = platform.measured.add, platform.size, users == ONE
        add(size, f"{name}, first page", users, first, bounded=grows)
        if later:
            worst = max(later, key=_figures)
            add(size, f"{name}, later page", users, worst, bounded=grows and name in SIFTED)
        read = max(map(_examined, [first, *later]))
        if read > EXACT_TOTAL_LIMIT + 1:
            platform.measured.beyond.append(f"{name}: {read:,} rows read for one page at {platform.size:,}")


def _page(user: Client, path: str, query: dict[str, str]) -> tuple[Cost, Response]:
    answers: list[Response] = []

    def act() -> Response:
        answers.append(user.get(path, query | {"limit": "2"}))
        return answers[-1]

    return costs.measured(act), answers[0]


def _examined(cost: Cost) -> int:
    """How many rows the queries of a call read."""
    return sum(request.answer["ScannedCount"] for request in cost.sent if request.operation == "Query")


def measure_work(platform: Platform, users: str, user: Client) -> None:
    """An agent's life: it beats, polls, claims, reports."""
    take, grows = platform.take, users == ONE
    agent, idler = register(user, "measured", "feature"), register(user, "idler", "review-pr")
    spanner = register(user, "spanner", "explain", "review-pr")  # the queue's index has `feature` between these
    agent.beat()
    take("heartbeat", users, agent.beat)
    idler.poll()
    take("poll, idle", users, idler.poll)
    take("poll, idle, others' queue", users, spanner.poll, bounded=grows)
    claimed: list[str] = []

    def claim() -> None:
        claimed.extend(command["task_id"] for command in agent.poll(limit=1).json()["commands"])

    take("poll that claims", users, claim, bounded=grows)
    (task,) = claimed
    take("poll that finds its claim", users, lambda: agent.poll(limit=1))
    take("progress, first", users, lambda: agent.progress(task))
    take("progress, same step", users, lambda: agent.progress(task, progress=0.7))
    take("progress, new step", users, lambda: agent.progress(task, "Opening the pull request"))
    take("complete", users, lambda: agent.complete(task))
    platform.poller.drain()
    work = WORK | {"taskId": "submitted", "intent": "feature"}
    take("submit", users, lambda: user.post("/api/workflows/execute", work))
    take("its message", users, platform.poller.drain)
    platform.at(START + MINUTE)
    take("heartbeat, first of a minute", users, agent.beat)


def measure_sweeps(platform: Platform) -> None:
    """The last, while none of all the others is due yet."""
    platform.at(DUE - 5 * SECOND)
    platform.poller.sweep()
    platform.take("sweep, idle", ALL, platform.poller.sweep, bounded=True)
    load.load(platform.endpoint, scale.stale("user-11111111-1111-4111-8111-111111111111", STALE))
    platform.at(DUE + 15 * SECOND)
    platform.take(f"sweep, {STALE} agents and {STALE} tasks due", ALL, platform.poller.sweep, bounded=True)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_what_a_call_costs_does_not_grow_with_what_there_is(
    true_dynamodb: str, make_user: MakeUser, poller: EventPoller, clock: Clock
) -> None:
    find_queues()
    measured = Measured()
    for size in SIZES:
        began = time.monotonic()
        dynamodb_local.create_tables(true_dynamodb)
        moto_aws.empty()
        clock.advance((START - clock.now) / SECOND)
        platform = Platform(true_dynamodb, poller, clock, size, measured)
        measurable = scale.populate(true_dynamodb, make_user, size)
        print(f"\n{size:,} agents and tasks loaded in {time.monotonic() - began:.0f} s", file=sys.stderr)
        for users, user in measurable.items():
            platform.at(START)
            measure_lists(platform, users, user)
            measure_work(platform, users, user)
        measure_sweeps(platform)
    print(f"\nAt {' / '.join(f'{size:,}' for size in SIZES)}:\n{measured.table()}", file=sys.stderr)
    found = measured.grown() + measured.beyond
    assert not found, "\n".join(found)
