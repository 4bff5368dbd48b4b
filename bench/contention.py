"""50 agents that poll for the same few tasks of their user's, on DynamoDB Local: how many claims are asked for in vain.

A poll that finds nothing is two requests. One that sees a task which another agent takes before it can is a transaction
more, for each time that it is beaten: that is what competing costs, and what is counted here.
"""

import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import capacity
from bench.fleet import patiently
from infra.local.gateway import Gateway
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import Agent, World, make_world
from tests.support import costs, wire
from tests.support.users import make_user

AGENTS = 50


@dataclass(frozen=True)
class Contest:
    tasks: int
    within: float
    """Seconds over which the polls are spread."""
    times: int

    @property
    def name(self) -> str:
        return f"within {self.within:g} s" if self.within else "at the same instant"


CONTESTS = (
    Contest(1, 0, times=20),
    Contest(1, 1, times=20),
    Contest(1, 5, times=10),  # as they poll while there is work
    Contest(10, 0, times=10),
    Contest(50, 0, times=10),
)


@dataclass
class Seen:
    """Of each time that a contest was held."""

    in_vain: list[int] = field(default_factory=list)
    """Claims that were refused, because another agent was quicker."""
    requests: list[int] = field(default_factory=list)
    """To DynamoDB, in all."""
    claimed: list[int] = field(default_factory=list)


@contextmanager
def world() -> Iterator[World]:
    with capacity.platform():
        from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

        yield make_world(make_user(Gateway(app)), Pump(app), Clock())


def held(made: World, agents: list[Agent], contest: Contest, pool: ThreadPoolExecutor) -> Seen:
    seen = Seen()
    for _ in range(contest.times):
        made.queued(contest.tasks)
        start = threading.Barrier(len(agents))

        def poll(agent: Agent, start: threading.Barrier = start) -> list[str]:
            start.wait()
            time.sleep(random.uniform(0, contest.within))  # noqa: S311  # a fleet is not in step
            return _poll(agent)

        with wire.recorded() as sent:
            claims = list(zip(agents, pool.map(poll, agents), strict=True))
        refused = [request for request in sent if "Error" in request.answer]
        seen.in_vain.append(sum(request.operation == "TransactWriteItems" for request in refused))
        seen.requests.append(len(sent))
        seen.claimed.append(sum(len(tasks) for _, tasks in claims))
        _end(claims, contest.tasks)
    return seen


def _poll(agent: Agent) -> list[str]:
    return [command["task_id"] for command in patiently(lambda: agent.poll(1)).json()["commands"]]


def _end(claims: list[tuple[Agent, list[str]]], tasks: int) -> None:
    """All of the tasks, those that nobody has claimed yet included. AssertionError where one was claimed twice."""
    held = {task: agent for agent, claimed in claims for task in claimed}
    assert len(held) == sum(len(claimed) for _, claimed in claims)
    while len(held) < tasks:
        held |= {task: agent for agent, claimed in claims if not claimed for task in _poll(agent)}
    for task, agent in held.items():
        patiently(lambda task=task, agent=agent: agent.complete(task))  # type: ignore[misc]


def main() -> None:
    rows = []
    with world() as made, ThreadPoolExecutor(AGENTS) as pool:
        agents = [made.agent(name=f"agent-{number:02d}") for number in range(AGENTS)]
        held(made, agents, Contest(1, 0, times=3), pool)  # to warm up
        for contest in CONTESTS:
            seen = held(made, agents, contest, pool)
            rows.append(
                [
                    contest.tasks,
                    contest.name,
                    contest.times,
                    f"{statistics.median(seen.claimed):g}",
                    f"{statistics.median(seen.in_vain):g} ({min(seen.in_vain)} to {max(seen.in_vain)})",
                    f"{statistics.median(seen.requests):g}",
                ]
            )
    print(f"{AGENTS} agents poll once each, for tasks of one user's; medians\n")
    print(costs.table(["tasks", "polls come", "times", "claimed", "claims in vain", "requests to DynamoDB"], rows))
