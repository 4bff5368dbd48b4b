"""Agents that poll in real time, at the interval that the platform asks for. For each task they report its first
progress and its completion, and nothing else. They share a few threads. All instants are those of a monotonic clock.
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
RUN_TIMEOUT = 900
"""Seconds after which `wait` fails if a run has not ended."""


@dataclass
class TaskRun:
    """What happened to a set of tasks: instants in seconds, by task id."""

    submitted: dict[str, float] = field(default_factory=dict)
    claimed: dict[str, float] = field(default_factory=dict)
    claims_by_agent: Counter[str] = field(default_factory=Counter)
    completed: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    """Responses with status 503, after which the request was sent again."""

    @property
    def waits(self) -> list[float]:
        """Seconds from just before a task was submitted until an agent received it."""
        return [instant - self.submitted[task_id] for task_id, instant in self.claimed.items()]

    @property
    def tasks_per_second(self) -> float:
        """From the first submission to the last completion."""
        return len(self.completed) / (max(self.completed.values()) - min(self.submitted.values()))

    def spread(self, agents: list[str]) -> tuple[int, int, float]:
        """The smallest and largest number of tasks of one agent, and the standard deviation divided by the mean."""
        counts = [self.claims_by_agent[agent] for agent in agents]
        return min(counts), max(counts), statistics.pstdev(counts) / statistics.mean(counts)


class Fleet:
    """Agents that work within `start`. `run` may be replaced while no task is left to do."""

    def __init__(self, agents: list[Agent]) -> None:
        self.agents = agents
        self.run = TaskRun()
        now = time.monotonic()
        self._due = [(now + random.uniform(0, 5), number) for number in range(len(agents))]  # noqa: S311  # not for security
        heapq.heapify(self._due)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads: list[Future[None]] = []

    @property
    def names(self) -> list[str]:
        return [agent.name for agent in self.agents]

    @contextmanager
    def start(self) -> Iterator[None]:
        """Run the agents within the block. Raises what an agent's thread raised."""
        with ThreadPoolExecutor(THREADS) as pool:
            self._threads = [pool.submit(self._work) for _ in range(THREADS)]
            try:
                yield
            finally:
                self._stopping.set()
        for thread in self._threads:
            thread.result()

    def submit(self, user: Client, task_id: str) -> None:
        body = WORK | {"taskId": task_id, "intent": INTENT}
        self.run.submitted[task_id] = time.monotonic()
        assert self._retry_503(lambda: user.post("/api/workflows/execute", body)).status == 202

    def wait(self) -> TaskRun:
        """Wait until all submitted tasks are completed. Raises what an agent's thread raised, and AssertionError after
        RUN_TIMEOUT."""
        end = time.monotonic() + RUN_TIMEOUT
        while len(self.run.completed) < len(self.run.submitted):
            for thread in self._threads:
                if thread.done():
                    thread.result()
            assert time.monotonic() < end, f"{len(self.run.completed)} of {len(self.run.submitted)} tasks in time"
            time.sleep(0.05)
        return self.run

    def _work(self) -> None:
        while not self._stopping.is_set():
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
        """Poll, and complete a task that was claimed. Returns the seconds until the next poll: 0 after a task."""
        response = self._retry_503(lambda: agent.poll(1)).json()
        now = time.monotonic()
        for command in response["commands"]:
            task_id = command["task_id"]
            assert task_id not in self.run.claimed, f"{task_id} was claimed twice"
            self.run.claimed[task_id] = now
            self.run.claims_by_agent[agent.name] += 1
            for report in (agent.progress, agent.complete):
                self._retry_503(lambda report=report, task_id=task_id: report(task_id))  # type: ignore[misc]
            self.run.completed[task_id] = time.monotonic()
        return 0 if response["commands"] else response["nextPollInterval"] / 1_000 * random.uniform(0.9, 1)  # noqa: S311  # likewise

    def _retry_503(self, call: Callable[[], Response]) -> Response:
        return retry_503(call, self._count_retry)

    def _count_retry(self) -> None:
        self.run.retries += 1


def retry_503(call: Callable[[], Response], on_retry: Callable[[], None] = lambda: None) -> Response:
    """Repeat a call while it responds with 503, as the protocol requires. Raises AssertionError on any other error."""
    while (response := call()).status == 503:
        on_retry()
        time.sleep(0.2)
    assert response.status < 300, response
    return response


def register_agents(user: Client, number: int) -> list[Agent]:
    """Register this number of new agents for a user."""
    return [register(user, f"agent-{index:03d}", INTENT) for index in range(number)]
