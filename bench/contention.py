"""50 agents of one user poll for the same few tasks on DynamoDB Local. The benchmark counts the claims that fail.

A poll that finds no task makes two requests. A poll that finds a task which another agent claims first makes one more
request, a transaction, each time this happens. That is the cost of contention.
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
from bench.fleet import retry_503
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.http.budget_calls import Agent, World, make_world
from tests.support import aws_requests, costs
from tests.support.users import make_user

AGENTS = 50


@dataclass(frozen=True)
class ContentionCase:
    tasks: int
    spread: float
    """Seconds over which the polls are spread."""
    repetitions: int

    @property
    def name(self) -> str:
        return f"within {self.spread:g} s" if self.spread else "at the same instant"


CASES = (
    ContentionCase(1, 0, repetitions=20),
    ContentionCase(1, 1, repetitions=20),
    ContentionCase(1, 5, repetitions=10),  # the interval of polls while there is work
    ContentionCase(10, 0, repetitions=10),
    ContentionCase(50, 0, repetitions=10),
)


@dataclass
class ContentionCounts:
    """Counts of one case, one number for each repetition."""

    failed_claims: list[int] = field(default_factory=list)
    """Claims that failed because another agent was faster."""
    requests: list[int] = field(default_factory=list)
    """All requests to DynamoDB."""
    claimed: list[int] = field(default_factory=list)


@contextmanager
def open_world() -> Iterator[World]:
    with capacity.start_platform():
        from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

        yield make_world(make_user(Gateway(app)), EventPoller(app), Clock())


def run_case(world: World, agents: list[Agent], case: ContentionCase, pool: ThreadPoolExecutor) -> ContentionCounts:
    counts = ContentionCounts()
    for _ in range(case.repetitions):
        world.queue_tasks(case.tasks)
        start = threading.Barrier(len(agents))

        def poll(agent: Agent, start: threading.Barrier = start) -> list[str]:
            start.wait()
            time.sleep(random.uniform(0, case.spread))  # noqa: S311  # not for security
            return _poll(agent)

        with aws_requests.recorded() as sent:
            claims = list(zip(agents, pool.map(poll, agents), strict=True))
        failed = [request for request in sent if "Error" in request.response]
        counts.failed_claims.append(sum(request.operation == "TransactWriteItems" for request in failed))
        counts.requests.append(len(sent))
        counts.claimed.append(sum(len(task_ids) for _, task_ids in claims))
        _complete_all(claims, case.tasks)
    return counts


def _poll(agent: Agent) -> list[str]:
    """The ids of the claimed tasks."""
    return [command["task_id"] for command in retry_503(lambda: agent.poll(1)).json()["commands"]]


def _complete_all(claims: list[tuple[Agent, list[str]]], tasks: int) -> None:
    """Claim the tasks that are left, and complete all. Raises AssertionError if a task was claimed twice."""
    agent_of = {task_id: agent for agent, claimed in claims for task_id in claimed}
    assert len(agent_of) == sum(len(claimed) for _, claimed in claims)
    while len(agent_of) < tasks:
        agent_of |= {task_id: agent for agent, claimed in claims if not claimed for task_id in _poll(agent)}
    for task_id, agent in agent_of.items():
        retry_503(lambda task_id=task_id, agent=agent: agent.complete(task_id))  # type: ignore[misc]


def main() -> None:
    rows = []
    with open_world() as world, ThreadPoolExecutor(AGENTS) as pool:
        agents = [world.agent(name=f"agent-{number:02d}") for number in range(AGENTS)]
        run_case(world, agents, ContentionCase(1, 0, repetitions=3), pool)  # to warm up
        for case in CASES:
            counts = run_case(world, agents, case, pool)
            failed = counts.failed_claims
            rows.append(
                [
                    case.tasks,
                    case.name,
                    case.repetitions,
                    f"{statistics.median(counts.claimed):g}",
                    f"{statistics.median(failed):g} ({min(failed)} to {max(failed)})",
                    f"{statistics.median(counts.requests):g}",
                ]
            )
    print(f"{AGENTS} agents poll once each for tasks of one user; medians\n")
    print(costs.table(["tasks", "polls", "repetitions", "claimed", "failed claims", "requests to DynamoDB"], rows))
