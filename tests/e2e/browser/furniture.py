"""A user with something of everything: what pages look like in use, for what looks at all of them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.client import Client
from tests.support.receivers import Answer, Got, Receiver, status

SECONDS = 60
PULSE = 20
REPO = "https://github.com/acme/shop"


@dataclass
class Furnished:
    """Ids of what there is."""

    user: Client
    agent: str
    spare: str
    """An agent that is paused."""
    completed: str
    failed: str
    running: str
    queued: str
    webhook: str
    failing: str
    """A webhook whose receiver says no."""
    agents: dict[str, Client]
    """Those that run something, by id."""


def furnish(user: Client, receiver: Receiver) -> Furnished:
    """Three agents, one of them paused; a task in every state that lasts; webhooks that arrive and one that does not;
    a token for a program."""
    webhook = tell(user, receiver.url, "The team's chat", "task.completed", "task.failed")
    mac = register(user, "build-mac", "Build Mac", "darwin", "fix-bug", "feature", "review-pr")
    linux = register(user, "linux-box", "Linux box", "linux", "fix-bug", "explain")
    register(user, "old-laptop", "Old laptop", "win32", "explain")
    user.patch("/api/agents/old-laptop", {"paused": True, "note": "Away for repairs until Friday"})

    completed = work(user, mac, "build-mac", "fix-bug", "Fix the null pointer exception in the login flow")
    report(mac, completed, "progress", progress=0.2, step="Reading the code")
    report(
        mac,
        completed,
        "logs",
        offset=0,
        data="$ npm test\n\x1b[32mPASS\x1b[0m tests/auth.test.ts\n\n42 tests, 42 passed\n",
    )
    report(mac, completed, "progress", progress=0.7, step="Running tests")
    report(
        mac, completed, "complete", success=True, summary="Fixed the null pointer in the auth service; added a test.",
        output="Created PR #456 with fix and tests", prUrl=f"{REPO}/pull/456",
        resultFiles={"commit": "abc123def456", "files": ["src/auth/login.ts", "tests/auth.test.ts"]},
    )  # fmt: skip
    failed = work(user, mac, "build-mac", "review-pr", "Review pull request 451: can the new cache serve stale prices?")
    report(
        mac, failed, "fail", error="Repository clone failed",
        details="Failed to authenticate with GitHub: invalid credentials", logs="fatal: Authentication failed\n",
    )  # fmt: skip
    running = work(
        user, mac, "build-mac", "feature", "Let customers download their invoices as PDF, one by one or all at once"
    )
    report(mac, running, "progress", progress=0.65, step="Running tests", details="Executed 45 of 69 tests")
    lines = [
        f"{'✓' if number % 7 else '•'} tests/invoices/case_{number:02}.test.ts ({number * 13 % 89} ms)"
        for number in range(1, 46)
    ]
    report(mac, running, "logs", offset=0, data="$ npm test\n" + "\n".join(lines) + "\n")
    second = work(user, linux, "linux-box", "explain", "Explain how discounts are applied at checkout")
    report(linux, second, "progress", progress=0.15, step="Reading the code")
    queued = submit(user, "fix-bug", "The search box loses focus after every keystroke")
    submit(user, "deploy-docs", "Publish the handbook")
    cancelled = submit(user, "fix-bug", "Upgrade the linter")
    assert user.post(f"/api/tasks/{cancelled}/cancel").status == 200
    agents = {"build-mac": mac, "linux-box": linux}
    refused = tell(user, f"{receiver.url}&refuse=1", "Where the old chat was", "agent.inactive")
    assert user.post(f"/api/webhooks/{refused}/test").status == 202
    assert user.post("/api/auth/tokens", {"name": "Release script"}).status == 201
    delivered(user, webhook, 2)
    tried(user, refused)
    return Furnished(user, "build-mac", "old-laptop", completed, failed, running, queued, webhook, refused, agents)


@contextmanager
def alive(made: Furnished) -> Iterator[None]:
    """The agents that run something go on saying so, however long the tests take."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(PULSE):
            for name, agent in made.agents.items():
                agent.post(f"/api/agents/{name}/heartbeat")

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join(SECONDS)


def receives(got: Got) -> Answer:
    """What the receiver of a furnished user answers."""
    if "refuse" in got.path:
        return status(500, b"<h1>Out of order</h1>")
    return status(200, b"ok")


def tell(user: Client, url: str, description: str, *events: str) -> str:
    made = user.post("/api/webhooks", {"url": url, "description": description, "events": events})
    assert made.status == 201, made
    webhook: str = made.json()["webhook"]["id"]
    return webhook


def delivered(user: Client, webhook: str, many: int) -> None:
    """Wait until so many deliveries have arrived."""
    _wait(lambda: user.get(f"/api/webhooks/{webhook}/deliveries", {"status": "delivered"}).json()["total"] >= many)


def tried(user: Client, webhook: str) -> None:
    """Wait until its latest delivery has been tried."""
    _wait(lambda: bool(user.get(f"/api/webhooks/{webhook}/deliveries").json()["data"][0]["attempts"]))


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


def register(
    user: Client, agent_id: str, name: str, platform: str, *capabilities: str, replace: bool = False
) -> Client:
    body = {"agentId": agent_id, "name": name, "version": "0.2.0", "platform": platform, "capabilities": capabilities}
    made = user.post("/api/agents", body | {"replace": replace})
    assert made.status == 201, made
    agent = user.acting_as(made.json()["token"])
    figures = {"status": "ready", "uptime": 84_300, "cpuUsage": 12.5, "memoryUsage": 412, "taskCount": 1}
    assert agent.post(f"/api/agents/{agent_id}/heartbeat", figures).status == 200
    return agent


def submit(user: Client, intent: str, text: str) -> str:
    body = {"intent": intent, "repo": REPO, "branch": "main", "naturalLanguage": text}
    answer = user.post("/api/tasks", body)
    assert answer.status == 202, answer
    task: str = answer.json()["taskId"]
    return task


def work(user: Client, agent: Client, agent_id: str, intent: str, text: str) -> str:
    """A task that the agent has claimed."""
    task = submit(user, intent, text)
    claim(agent, agent_id, task)
    return task


def claim(agent: Client, agent_id: str, task: str) -> None:
    """Poll until the agent has this task."""
    claimed: list[Any] = []

    def poll() -> bool:
        claimed[:] = agent.get(f"/api/agents/{agent_id}/commands", {"limit": 1}).json()["commands"]
        return bool(claimed)

    _wait(poll)
    assert claimed[0]["task_id"] == task


def report(agent: Client, task: str, what: str, **body: Any) -> None:
    answer = agent.post(f"/api/tasks/{task}/{what}", body)
    assert answer.status == 200, answer
