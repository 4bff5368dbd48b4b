"""A user with one of everything, for the tests that open every page."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.client import Client
from tests.support.webhook_receiver import ReceivedRequest, Receiver, Responder, status

SECONDS = 60
HEARTBEAT_SECONDS = 20
REPO = "https://github.com/acme/shop"


@dataclass
class SampleData:
    """The ids of the user's agents, tasks and webhooks."""

    user: Client
    agent: str
    paused_agent: str
    completed: str
    failed: str
    running: str
    queued: str
    webhook: str
    failing_webhook: str
    """A webhook whose receiver returns 500."""
    agents: dict[str, Client]
    """The agents that run a task, by id."""


def create_sample_data(user: Client, receiver: Receiver) -> SampleData:
    """Three agents, one of them paused; a task in every state that lasts; a webhook with deliveries and one that fails;
    a personal token."""
    webhook = add_webhook(user, receiver.url, "The team's chat", "task.completed", "task.failed")
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
    failing = add_webhook(user, f"{receiver.url}&refuse=1", "Where the old chat was", "agent.inactive")
    assert user.post(f"/api/webhooks/{failing}/test").status == 202
    assert user.post("/api/auth/tokens", {"name": "Release script"}).status == 201
    wait_for_deliveries(user, webhook, 2)
    wait_for_attempt(user, failing)
    return SampleData(user, "build-mac", "old-laptop", completed, failed, running, queued, webhook, failing, agents)


@contextmanager
def heartbeats(data: SampleData) -> Iterator[None]:
    """The agents that run a task send heartbeats, however long the tests take."""
    stopped = threading.Event()

    def send() -> None:
        while not stopped.wait(HEARTBEAT_SECONDS):
            for name, agent in data.agents.items():
                agent.post(f"/api/agents/{name}/heartbeat")

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        stopped.set()
        sender.join(SECONDS)


def respond(got: ReceivedRequest) -> Responder:
    """The response of the sample data's receiver."""
    if "refuse" in got.path:
        return status(500, b"<h1>Out of order</h1>")
    return status(200, b"ok")


def add_webhook(user: Client, url: str, description: str, *events: str) -> str:
    created = user.post("/api/webhooks", {"url": url, "description": description, "events": events})
    assert created.status == 201, created
    webhook: str = created.json()["webhook"]["id"]
    return webhook


def wait_for_deliveries(user: Client, webhook: str, count: int) -> None:
    """Wait until this many deliveries have arrived."""
    _wait(lambda: user.get(f"/api/webhooks/{webhook}/deliveries", {"status": "delivered"}).json()["total"] >= count)


def wait_for_attempt(user: Client, webhook: str) -> None:
    """Wait for an attempt of its latest delivery."""
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
    """Submit a task, and claim it with this agent."""
    task = submit(user, intent, text)
    claim(agent, agent_id, task)
    return task


def claim(agent: Client, agent_id: str, task: str) -> None:
    """Poll until the agent has claimed this task."""
    claimed: list[Any] = []

    def poll() -> bool:
        claimed[:] = agent.get(f"/api/agents/{agent_id}/commands", {"limit": 1}).json()["commands"]
        return bool(claimed)

    _wait(poll)
    assert claimed[0]["task_id"] == task


def report(agent: Client, task: str, what: str, **body: Any) -> None:
    answer = agent.post(f"/api/tasks/{task}/{what}", body)
    assert answer.status == 200, answer
