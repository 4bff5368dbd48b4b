"""Sixteen agents and two hundred tasks at once: nobody gets what another has, and nothing is left over."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.client import Client, Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.gateway import Response
    from tests.e2e.conftest import Platform

AGENTS = 16
TASKS = 200
MOST_HELD = 20
STEPS = (7, 9, 4)
SECONDS = 120


def patiently(call: Callable[[], Response]) -> Response:
    """A call as the protocol wants it made: a 503 (on a machine too busy for all this at once) is no last word."""
    end = time.monotonic() + SECONDS
    while (answer := call()).status == 503 and time.monotonic() < end:
        time.sleep(float(answer.header("Retry-After") or 1))
    return answer


class Crowd:
    """What the agents' threads share: when to start, and what everybody has claimed so far."""

    def __init__(self, platform: Platform, token: str | None) -> None:
        self.platform = platform
        self.http = Http(platform.url)
        self.user = Client(self.http, token)
        self.intent = f"many-{uuid.uuid4()}"
        self.tasks = [f"task-{uuid.uuid4()}" for _ in range(TASKS)]
        self.claims: dict[str, set[str]] = {}
        self.start = threading.Barrier(AGENTS, self.wait_until_claimable, timeout=SECONDS)

    def wait_until_claimable(self) -> None:
        self.platform.advance(0.001)  # all messages of the queue are worked off when this returns
        waiting = self.user.get("/api/tasks", {"intent": self.intent, "status": "queued", "limit": 1}).json()
        assert waiting["total"] == TASKS

    def take_part(self, number: int) -> None:
        """One agent's part: register, submit a share of the tasks, and then poll until all tasks are claimed."""
        try:
            agent = f"agent-{number}-{uuid.uuid4()}"
            about = {"agentId": agent, "name": agent, "version": "0.2.0", "capabilities": [self.intent]}
            registered = self.user.post("/api/agents", about)
            assert registered.status == 201, registered
            for task in self.tasks[number::AGENTS]:
                self.submit(task)
            self.claims[agent] = set()
            self.start.wait()
            self.poll(agent, self.user.acting_as(registered.json()["token"]), number)
        except BaseException:
            self.start.abort()
            raise
        finally:
            self.http.close()

    def submit(self, task: str) -> None:
        body = {"taskId": task, "intent": self.intent, "repo": "https://github.com/u/r", "naturalLanguage": "Anything"}
        answer = patiently(partial(self.user.post, "/api/workflows/execute", body))
        assert answer.status == 202, answer

    def poll(self, agent: str, worker: Client, number: int) -> None:
        """Ask for more each time, by other steps than the others, and start nothing: claims stay claims."""
        limit, end = 0, time.monotonic() + SECONDS
        for step in itertools.islice(itertools.cycle(STEPS), number, None):
            limit = min(limit + step, MOST_HELD)
            answer = patiently(partial(worker.get, f"/api/agents/{agent}/commands", {"limit": limit}))
            assert answer.status == 200, answer
            commands = answer.json()["commands"]
            assert len(commands) <= limit
            self.claims[agent] |= {command["task_id"] for command in commands}
            if self.all_claimed() or len(self.claims[agent]) == MOST_HELD:
                return
            assert time.monotonic() < end, f"only {self.total()} of {TASKS} were claimed in time"

    def total(self) -> int:
        return sum(len(claimed) for claimed in list(self.claims.values()))

    def all_claimed(self) -> bool:
        return self.total() >= TASKS


@pytest.mark.timeout(2 * SECONDS)
def test_every_task_is_claimed_by_exactly_one_agent(fresh_platform: Callable[..., Platform]) -> None:
    platform = fresh_platform()
    user = platform.client.login()
    crowd = Crowd(platform, user.token)

    with ThreadPoolExecutor(AGENTS) as pool:
        list(pool.map(crowd.take_part, range(AGENTS)))

    assert Counter(task for claimed in crowd.claims.values() for task in claimed) == Counter(crowd.tasks)
    holders = {task: agent for agent, claimed in crowd.claims.items() for task in claimed}
    query: dict[str, object] = {"intent": crowd.intent, "status": "assigned", "limit": 100}
    first = user.get("/api/tasks", query).json()
    second = user.get("/api/tasks", query | {"cursor": first["nextCursor"]}).json()
    assert {task["id"]: task["agentId"] for task in first["data"] + second["data"]} == holders
    assert (first["total"], second["hasMore"]) == (TASKS, False)
