"""The world in which calls are measured, and the register of those calls."""

import itertools
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from moto.sqs.models import sqs_backends

from chalicelib.auth import tokens
from chalicelib.aws import sqs
from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.tasks import polling
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.long import load
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers

BEAT = {"status": "ready", "uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.5}
WORK = {
    "repo": "https://github.com/user/repo",
    "branch": "main",
    "naturalLanguage": "Fix null pointer exception in login flow",
    "context": {"issueId": "123", "prId": "456"},
}
DONE = {
    "success": True,
    "summary": "Fixed null pointer exception in auth service",
    "output": "Created PR #456 with fix and tests",
    "prUrl": "https://github.com/user/repo/pull/456",
    "resultFiles": {"commit": "abc123def456", "files": ["src/auth/login.ts", "tests/auth.test.ts"]},
}
FAILED = {"error": "Repository clone failed", "details": "Failed to authenticate with GitHub: invalid credentials"}


class Agent:
    """An agent that calls with its own token."""

    def __init__(self, name: str, client: Client) -> None:
        self.name, self.client = name, client

    def beat(self, **more: Any) -> Response:
        return self.client.post(f"/api/agents/{self.name}/heartbeat", BEAT | more)

    def poll(self, limit: int = 10) -> Response:
        return self.client.get(f"/api/agents/{self.name}/commands", {"limit": limit})

    def claims(self) -> list[str]:
        return [command["task_id"] for command in self.poll().json()["commands"]]

    def progress(self, task: str, step: str = "Running test suite", **more: Any) -> Response:
        report = {"status": "in_progress", "step": step, "progress": 0.65, "details": "Executed 45/65 tests"}
        return self.client.post(f"/api/tasks/{task}/progress", report | more)

    def complete(self, task: str) -> Response:
        return self.client.post(f"/api/tasks/{task}/complete", DONE)

    def fail(self, task: str, **more: Any) -> Response:
        return self.client.post(f"/api/tasks/{task}/fail", FAILED | more)


@dataclass
class World:
    """A user and a platform, at the beginning of a minute, so that no minute ends between two calls."""

    user: Client
    owner: str
    poller: EventPoller
    clock: Clock
    email: str = "user@example.com"
    submitted: int = 0
    ends: ExitStack = field(default_factory=ExitStack)
    """What this world began and has to end; whoever made it closes it."""

    def __post_init__(self) -> None:
        self.next_minute()

    def next_minute(self) -> None:
        self.clock.advance((MINUTE - self.clock.now % MINUTE) / SECOND)

    def agent(self, *capabilities: str, name: str = "agent-1", **more: Any) -> Agent:
        return register(self.user, name, *(capabilities or ["fix-bug"]), **more)

    def submit(self, intent: str = "fix-bug", by: Client | None = None, **more: Any) -> Response:
        """Submit `task-<n>`, which stays pending until its message is handled."""
        self.submitted += 1
        body = {"taskId": f"task-{self.submitted}", "intent": intent, **WORK, **more}
        return (by or self.user).post("/api/workflows/execute", body)

    def queued(self, many: int = 1, intent: str = "fix-bug", **more: Any) -> str:
        """Submit so many tasks and make them claimable; the last one's id."""
        for _ in range(many):
            self.submit(intent, **more)
        self.poller.drain()
        return f"task-{self.submitted}"

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """What waits in a queue, which is empty then."""
        waiting = [json.loads(body) for body in moto_aws.messages(queue)]
        sqs_backends[ACCOUNT][REGION].queues[f"devflow-local-{queue}"]._messages.clear()
        return waiting

    def handled(self, handler: str, messages: list[dict[str, Any]]) -> "Call":
        """One batch of messages, as Lambda would hand it to a function."""

        def handle() -> None:
            assert messages
            assert Handlers(self.poller._app).batch(handler, *messages) == []

        return handle

    def claimed(self, agent: Agent) -> str:
        task = self.queued()
        assert agent.claims() == [task]
        return task

    def running(self, agent: Agent) -> str:
        task = self.claimed(agent)
        assert agent.progress(task).status == 200
        return task

    def long_queue(self, intent: str) -> None:
        """More tasks than a poll reads at once."""
        waiting = [f"waiting-{number}" for number in range(polling.PAGE_SIZE + 1)]
        rows = [load.task_row(self.owner, task, self.clock.now, status="queued", intent=intent) for task in waiting]
        load.load(None, itertools.chain.from_iterable(rows))

    def some_tasks(self) -> None:
        """Two completed and six queued ones, of two intents."""
        agent = self.agent()
        for _ in range(2):
            agent.complete(self.running(agent))
        self.queued(4)
        self.queued(2, intent="feature")


def register(user: Client, name: str, *capabilities: str, **more: Any) -> Agent:
    """A new agent of a user's, with a token of its own."""
    body = {"agentId": name, "name": name, "version": "0.2.0", "capabilities": capabilities}
    answer = user.post("/api/agents", body | more)
    assert answer.status == 201, answer
    return Agent(name, user.acting_as(answer.json()["token"]))


def find_queues() -> None:
    """Have the addresses of all queues, which a container asks for once, and not in the midst of what is measured."""
    for name in ("workflow", "events", "webhooks"):
        sqs._queue_url(name)


def make_world(user: Client, poller: EventPoller, clock: Clock, email: str = "user@example.com") -> World:
    """The world of a user who was made just now."""
    find_queues()
    owner = tokens.verify(user.token, clock.now).owner
    return World(user, owner, poller, clock, email)


Call = Callable[[], Any]
CALLS: dict[str, Callable[[World], Call]] = {}


def call(name: str) -> Callable[[Callable[[World], Call]], Callable[[World], Call]]:
    def register(prepare: Callable[[World], Call]) -> Callable[[World], Call]:
        CALLS[name] = prepare
        return prepare

    return register
