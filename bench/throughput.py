"""How soon tasks reach agents, how many a second, and how evenly: 200 agents and 2,000 tasks over Amazon's DynamoDB
Local, in one process. Half of the tasks come one by one, at a rate that leaves most agents idle; the others at once.
Then 50 agents poll for one task at the same instant, over and over: what those who come too late have asked in vain.

Agents poll when they are told to, by real time, and do nothing for a task but report its first progress and its end.
They share a few threads, and all share the machine with the database: figures of this machine, and the least ones.
"""

import heapq
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import capacity
from chalicelib.settings import settings
from infra.local.gateway import Gateway, Response
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import Agent, World, make_world
from tests.support import costs, moto_aws, wire
from tests.support.users import make_user

AGENTS, TASKS, THREADS = 200, 2_000, 8
A_SECOND = 10
"""So many tasks a second, while they come one by one."""
RIVALS, CONTESTS = 50, 20
PATIENCE = 900
"""Seconds after which a run that does not end is given up."""


@dataclass
class Run:
    """What happened to some tasks, in seconds of a clock that only grows."""

    submitted: dict[str, float] = field(default_factory=dict)
    claimed: dict[str, float] = field(default_factory=dict)
    by: Counter[str] = field(default_factory=Counter)
    ended: float = 0

    @property
    def waits(self) -> list[float]:
        return [at - self.submitted[task] for task, at in self.claimed.items()]

    @property
    def a_second(self) -> float:
        return len(self.claimed) / (self.ended - min(self.submitted.values()))

    def told(self, name: str) -> list[str]:
        hundredths = statistics.quantiles(self.waits, n=100)
        many = [self.by[f"agent-{number:03d}"] for number in range(AGENTS)]
        spread = statistics.pstdev(many) / statistics.mean(many)
        waits = [f"{hundredths[49]:.2f} s", f"{hundredths[98]:.2f} s"]
        return [
            name,
            str(len(self.claimed)),
            *waits,
            f"{self.a_second:.1f}",
            f"{min(many)} to {max(many)}",
            f"{spread:.2f}",
        ]


class Fleet:
    """Agents that poll when they are due, in a few threads."""

    def __init__(self, world: World, agents: list[Agent]) -> None:
        self.world, self.agents = world, agents
        self.run = Run()
        now = time.monotonic()
        self._due = [(now + random.uniform(0, 5), number) for number in range(len(agents))]  # noqa: S311  # a fleet is not in step
        heapq.heapify(self._due)
        self._changed = threading.Condition()
        self.ending = threading.Event()

    def work(self) -> None:
        """One thread's part, until it is told to end."""
        while not self.ending.is_set():
            with self._changed:
                due, number = self._due[0] if self._due else (time.monotonic() + 0.1, None)
                wait = due - time.monotonic()
                if wait > 0 or number is None:
                    self._changed.wait(min(max(wait, 0), 0.1))
                    continue
                heapq.heappop(self._due)
            again = self._poll(self.agents[number])
            with self._changed:
                heapq.heappush(self._due, (time.monotonic() + again, number))

    def _poll(self, agent: Agent) -> float:
        """Seconds until its next poll; after a task it comes back at once."""
        answer = patiently(lambda: agent.poll(1)).json()
        now = time.monotonic()
        for command in answer["commands"]:
            task = command["task_id"]
            assert task not in self.run.claimed, f"{task} was claimed twice"
            self.run.claimed[task] = now
            self.run.by[agent.name] += 1
            for report in (agent.progress, agent.complete):
                assert patiently(lambda report=report, task=task: report(task)).status == 200  # type: ignore[misc]
            self.run.ended = time.monotonic()
        return 0 if answer["commands"] else answer["nextPollInterval"] / 1_000 * random.uniform(0.9, 1)  # noqa: S311  # likewise

    def wait_for(self, tasks: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.run.claimed) < tasks:
            assert time.monotonic() < end, f"{len(self.run.claimed)} of {tasks} were claimed in time"
            time.sleep(0.05)


def patiently(call: Callable[[], Response]) -> Response:
    """As the protocol has it: a 503 is no last word."""
    while (answer := call()).status == 503:
        time.sleep(0.2)
    assert answer.status < 300, answer
    return answer


@contextmanager
def world() -> Iterator[World]:
    """A user without limits of calls, over DynamoDB Local, and the queues worked off by threads of their own."""
    limits = settings.rate_limits
    object.__setattr__(settings, "rate_limits", False)  # frozen for everybody else
    try:
        with capacity.platform():
            from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

            pump = Pump(app)
            made = make_world(make_user(Gateway(app)), pump, Clock())
            pump.start()
            yield made
            pump.stop()
    finally:
        object.__setattr__(settings, "rate_limits", limits)


def submit(fleet: Fleet, number: int) -> None:
    body = {"taskId": f"task-{number}", "intent": "fix-bug", "repo": "https://github.com/u/r", "naturalLanguage": "x"}
    began = time.monotonic()
    fleet.run.submitted[f"task-{number}"] = began
    assert patiently(lambda: fleet.world.user.post("/api/workflows/execute", body)).status == 202
    fleet.world.pump.wake()


def one_by_one(fleet: Fleet) -> Run:
    began = time.monotonic()
    for number in range(TASKS // 2):
        time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
        submit(fleet, number)
    fleet.wait_for(TASKS // 2)
    return fleet.run


def at_once(fleet: Fleet) -> Run:
    fleet.run = Run()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: submit(fleet, number), range(TASKS // 2, TASKS)))
    fleet.wait_for(TASKS // 2)
    return fleet.run


def contest(made: World, agents: list[Agent]) -> list[int]:
    """How many of those who came too late asked in vain for a claim, each time."""
    lost = []
    for number in range(CONTESTS):
        made.submit(taskId=f"contested-{number}")
        made.pump.drain()
        start = threading.Barrier(len(agents))

        def poll(agent: Agent, start: threading.Barrier = start) -> list[str]:
            start.wait()
            return [command["task_id"] for command in patiently(lambda: agent.poll(1)).json()["commands"]]

        with wire.recorded() as sent, ThreadPoolExecutor(len(agents)) as pool:
            claimed = [
                (agent, task) for agent, tasks in zip(agents, pool.map(poll, agents), strict=True) for task in tasks
            ]
        ((winner, task),) = claimed
        lost.append(sent.operations.count("TransactWriteItems") - 1)
        assert patiently(lambda winner=winner, task=task: winner.complete(task)).status == 200  # type: ignore[misc]
    return lost


def main() -> None:
    with world() as made:
        agents = [made.agent(name=f"agent-{number:03d}") for number in range(AGENTS)]
        fleet = Fleet(made, agents)
        threads = [threading.Thread(target=fleet.work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        rows = [one_by_one(fleet).told(f"{A_SECOND} a second"), at_once(fleet).told("all at once")]
        fleet.ending.set()
        for thread in threads:
            thread.join()
        made.pump.drain()
        heads = [row for row in moto_aws.rows("tasks") if row["sk"]["S"] == "H"]
        done = sum(row["status"]["S"] == "completed" for row in heads)
        lost = contest(made, agents[:RIVALS])
    print(f"{AGENTS} agents, {TASKS:,} tasks: {done:,} of {len(heads):,} completed\n")
    header = [
        "tasks come",
        "tasks",
        "submitted to claimed, p50",
        "p99",
        "tasks a second",
        "tasks an agent",
        "variation",
    ]
    print(costs.table(header, rows))
    print(f"\n{RIVALS} agents poll for one task at the same instant, {CONTESTS} times: claims asked for in vain")
    print(f"median {statistics.median(lost):g}, most {max(lost)} of {RIVALS - 1}")
    if done != TASKS:
        print(f"\nMissed: {TASKS - done} tasks were not completed")
