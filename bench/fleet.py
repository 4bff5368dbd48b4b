"""Agents that poll when the platform tells them to, by real time, and do nothing for a task but report its first
progress and its end. They share a few threads; what they notice are instants of a clock that only grows.
"""

import heapq
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.local.gateway import Response
from tests.http.budget_world import WORK, Agent, register
from tests.support.client import Client

THREADS = 8
INTENT = "fix-bug"
PATIENCE = 900
"""Seconds after which a run that does not end is given up."""


@dataclass
class Run:
    """What happened to some tasks, in seconds."""

    submitted: dict[str, float] = field(default_factory=dict)
    claimed: dict[str, float] = field(default_factory=dict)
    by: Counter[str] = field(default_factory=Counter)
    completed: dict[str, float] = field(default_factory=dict)
    put_off: int = 0
    """Answers that asked to send the same again."""

    @property
    def waits(self) -> list[float]:
        """From before a task was submitted until an agent had it in hand."""
        return [at - self.submitted[task] for task, at in self.claimed.items()]

    @property
    def a_second(self) -> float:
        """Tasks, from the first that was submitted to the last that was completed."""
        return len(self.completed) / (max(self.completed.values()) - min(self.submitted.values()))

    def spread(self, agents: list[str]) -> tuple[int, int, float]:
        """The least and the most tasks that one of these agents had, and the standard deviation over the mean."""
        many = [self.by[agent] for agent in agents]
        return min(many), max(many), statistics.pstdev(many) / statistics.mean(many)


class Fleet:
    """Agents at work from `working` on; `run` may be exchanged whenever they have nothing to do."""

    def __init__(self, agents: list[Agent]) -> None:
        self.agents = agents
        self.run = Run()
        now = time.monotonic()
        self._due = [(now + random.uniform(0, 5), number) for number in range(len(agents))]  # noqa: S311  # a fleet is not in step
        heapq.heapify(self._due)
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._threads: list[Future[None]] = []

    @property
    def names(self) -> list[str]:
        return [agent.name for agent in self.agents]

    @contextmanager
    def working(self) -> Iterator[None]:
        with ThreadPoolExecutor(THREADS) as pool:
            self._threads = [pool.submit(self._work) for _ in range(THREADS)]
            try:
                yield
            finally:
                self._ending.set()
        for thread in self._threads:
            thread.result()

    def submit(self, user: Client, task: str) -> None:
        body = WORK | {"taskId": task, "intent": INTENT}
        self.run.submitted[task] = time.monotonic()
        assert self._patiently(lambda: user.post("/api/workflows/execute", body)).status == 202

    def wait(self) -> Run:
        """Until all that was submitted is completed. Raises what an agent's thread raised."""
        end = time.monotonic() + PATIENCE
        while len(self.run.completed) < len(self.run.submitted):
            for thread in self._threads:
                if thread.done():
                    thread.result()
            assert time.monotonic() < end, f"{len(self.run.completed)} of {len(self.run.submitted)} tasks in time"
            time.sleep(0.05)
        return self.run

    def _work(self) -> None:
        while not self._ending.is_set():
            with self._changed:
                due, number = self._due[0] if self._due else (time.monotonic() + 0.1, None)
                wait = due - time.monotonic()
                if wait > 0 or number is None:
                    self._changed.wait(min(max(wait, 0), 0.1))
                    continue
                heapq.heappop(self._due)
            pause = self._poll(self.agents[number])
            with self._changed:
                heapq.heappush(self._due, (time.monotonic() + pause, number))

    def _poll(self, agent: Agent) -> float:
        """Seconds until its next poll; after a task it comes back at once."""
        answer = self._patiently(lambda: agent.poll(1)).json()
        now = time.monotonic()
        for command in answer["commands"]:
            task = command["task_id"]
            assert task not in self.run.claimed, f"{task} was claimed twice"
            self.run.claimed[task] = now
            self.run.by[agent.name] += 1
            for report in (agent.progress, agent.complete):
                self._patiently(lambda report=report, task=task: report(task))  # type: ignore[misc]
            self.run.completed[task] = time.monotonic()
        return 0 if answer["commands"] else answer["nextPollInterval"] / 1_000 * random.uniform(0.9, 1)  # noqa: S311  # likewise

    def _patiently(self, call: Callable[[], Response]) -> Response:
        return patiently(call, self._put_off)

    def _put_off(self) -> None:
        self.run.put_off += 1


def patiently(call: Callable[[], Response], put_off: Callable[[], None] = lambda: None) -> Response:
    """As the protocol has it: a 503 is no last word."""
    while (answer := call()).status == 503:
        put_off()
        time.sleep(0.2)
    assert answer.status < 300, answer
    return answer


def registered(user: Client, many: int) -> list[Agent]:
    """New agents of a user's."""
    return [register(user, f"agent-{number:03d}", INTENT) for number in range(many)]
