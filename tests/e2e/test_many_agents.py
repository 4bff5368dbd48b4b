"""Sixteen agents poll two hundred tasks concurrently. Every task is claimed by exactly one agent."""

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
MAX_CLAIMS = 20
STEPS = (7, 9, 4)
SECONDS = 120


def with_retries(call: Callable[[], Response]) -> Response:
    """Retry a call after a 503 response, as the protocol requires. A busy machine may cause 503 responses."""
    end = time.monotonic() + SECONDS
    while (response := call()).status == 503 and time.monotonic() < end:
        time.sleep(float(response.header("Retry-After") or 1))
    return response


class AgentGroup:
    """The state that the threads of the agents share: the start of the polls, and all claims so far."""

    def __init__(self, platform: Platform, token: str | None) -> None:
        self.platform = platform
        self.http = Http(platform.url)
        self.user = Client(self.http, token)
        self.intent = f"many-{uuid.uuid4()}"
        self.tasks = [f"task-{uuid.uuid4()}" for _ in range(TASKS)]
        self.claims: dict[str, set[str]] = {}
        self.start = threading.Barrier(AGENTS, self.wait_until_claimable, timeout=SECONDS)

    def wait_until_claimable(self) -> None:
        self.platform.advance(0.001)  # handles all messages of the queue
        waiting = self.user.get("/api/tasks", {"intent": self.intent, "status": "queued", "limit": 1}).json()
        assert waiting["total"] == TASKS

    def run_agent(self, number: int) -> None:
        """Register an agent, submit a share of the tasks, and then poll until all tasks are claimed."""
        try:
            agent = f"agent-{number}-{uuid.uuid4()}"
            body = {"agentId": agent, "name": agent, "version": "0.2.0", "capabilities": [self.intent]}
            registered = self.user.post("/api/agents", body)
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
        response = with_retries(partial(self.user.post, "/api/workflows/execute", body))
        assert response.status == 202, response

    def poll(self, agent: str, worker: Client, number: int) -> None:
        """Increase the limit with each poll, by steps that differ between agents. No claimed task is started."""
        limit, end = 0, time.monotonic() + SECONDS
        for step in itertools.islice(itertools.cycle(STEPS), number, None):
            limit = min(limit + step, MAX_CLAIMS)
            response = with_retries(partial(worker.get, f"/api/agents/{agent}/commands", {"limit": limit}))
            assert response.status == 200, response
            commands = response.json()["commands"]
            assert len(commands) <= limit
            self.claims[agent] |= {command["task_id"] for command in commands}
            if self.all_claimed() or len(self.claims[agent]) == MAX_CLAIMS:
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
    group = AgentGroup(platform, user.token)

    with ThreadPoolExecutor(AGENTS) as pool:
        list(pool.map(group.run_agent, range(AGENTS)))

    assert Counter(task for claimed in group.claims.values() for task in claimed) == Counter(group.tasks)
    agents = {task: agent for agent, claimed in group.claims.items() for task in claimed}
    query: dict[str, object] = {"intent": group.intent, "status": "assigned", "limit": 100}
    first = user.get("/api/tasks", query).json()
    second = user.get("/api/tasks", query | {"cursor": first["nextCursor"]}).json()
    assert {task["id"]: task["agentId"] for task in first["data"] + second["data"]} == agents
    assert (first["total"], second["hasMore"]) == (TASKS, False)
