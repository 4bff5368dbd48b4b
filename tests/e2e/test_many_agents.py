"""Sixteen agents and two hundred tasks at once: nobody gets what another has, and nothing is left over."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.conftest import Platform
    from tests.support.client import Client

AGENTS = 16
TASKS = 200
LIMITS = (1, 7, 2, 20, 3, 10)
SECONDS = 40


def register(user: Client, agent: str, intent: str) -> Client:
    about = {"agentId": agent, "name": agent, "version": "0.2.0", "capabilities": [intent]}
    answer = user.post("/api/agents", about)
    assert answer.status == 201, answer
    return user.acting_as(answer.json()["token"])


def submit(user: Client, task: str, intent: str) -> None:
    body = {"taskId": task, "intent": intent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    answer = user.post("/api/workflows/execute", body)
    assert answer.status == 202, answer


def wait_until_queued(user: Client, intent: str) -> None:
    end = time.monotonic() + SECONDS
    while (total := user.get("/api/tasks", {"intent": intent, "status": "queued", "limit": 1}).json()["total"]) < TASKS:
        assert time.monotonic() < end, f"only {total} of {TASKS} became claimable"
        time.sleep(0.1)


def work(worker: Client, agent: str, seed: int, start: threading.Barrier, done: Counter[str]) -> list[str]:
    """Poll with ever other limits and complete what comes, until all tasks are done; the ids in order of claiming."""
    claimed: list[str] = []
    end = time.monotonic() + SECONDS
    start.wait()
    for limit in itertools.islice(itertools.cycle(LIMITS), seed, None):
        answer = worker.get(f"/api/agents/{agent}/commands", {"limit": limit})
        assert answer.status == 200, answer
        commands = answer.json()["commands"]
        assert len(commands) <= limit
        for command in commands:
            claimed.append(command["task_id"])
            report = {"success": True, "summary": "Done", "attempt": command["attempt"]}
            answer = worker.post(f"/api/tasks/{command['task_id']}/complete", report)
            assert answer.status == 200, answer
            done[command["task_id"]] += 1
        if len(done) == TASKS:
            return claimed
        assert time.monotonic() < end, f"only {len(done)} of {TASKS} tasks were done in time"
        if not commands:
            time.sleep(0.2)
    raise AssertionError  # the limits never end


def test_every_task_is_claimed_by_exactly_one_agent(platform: Platform) -> None:
    user = platform.client.login()
    intent = f"many-{uuid.uuid4()}"
    agents = [f"agent-{number}-{uuid.uuid4()}" for number in range(AGENTS)]
    tasks = {f"task-{uuid.uuid4()}" for _ in range(TASKS)}
    with ThreadPoolExecutor(AGENTS) as pool:
        workers = list(pool.map(lambda agent: register(user, agent, intent), agents))
        list(pool.map(lambda task: submit(user, task, intent), tasks))
        wait_until_queued(user, intent)

        start, done = threading.Barrier(AGENTS), Counter[str]()
        futures = [
            pool.submit(work, worker, agent, seed, start, done)
            for seed, (worker, agent) in enumerate(zip(workers, agents, strict=True))
        ]
        claims = {agent: future.result() for agent, future in zip(agents, futures, strict=True)}

    times_claimed = Counter(task for claimed in claims.values() for task in claimed)
    assert times_claimed == Counter(tasks)
    assert sum(bool(claimed) for claimed in claims.values()) > AGENTS // 2, "a few agents took everything"
    holders = {task: agent for agent, claimed in claims.items() for task in claimed}
    cursor, seen = None, 0
    while seen < TASKS:
        query = {"intent": intent, "status": "completed", "limit": 100} | ({"cursor": cursor} if cursor else {})
        page = user.get("/api/tasks", query).json()
        assert all(task["agentId"] == holders[task["id"]] and task["attempt"] == 1 for task in page["data"])
        assert page["total"] == TASKS
        seen, cursor = seen + len(page["data"]), page["nextCursor"]
    assert cursor is None
