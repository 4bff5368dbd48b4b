"""The world in which calls are measured (a user and the platform), and the registry of these calls."""

import itertools
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from moto.sqs.models import sqs_backends

from chalicelib.agents.rules import INACTIVE_AFTER, check_at
from chalicelib.auth import tokens
from chalicelib.aws import sqs
from chalicelib.core.settings import HOUR, MINUTE, SECOND
from chalicelib.tasks import partitions, polling, quotas
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.long import load
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers

HEARTBEAT = {"status": "ready", "uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.5}
WORK = {
    "repo": "https://github.com/user/repo",
    "branch": "main",
    "naturalLanguage": "Fix null pointer exception in login flow",
    "context": {"issueId": "123", "prId": "456"},
}
COMPLETION = {
    "success": True,
    "summary": "Fixed null pointer exception in auth service",
    "output": "Created PR #456 with fix and tests",
    "prUrl": "https://github.com/user/repo/pull/456",
    "resultFiles": {"commit": "abc123def456", "files": ["src/auth/login.ts", "tests/auth.test.ts"]},
}
FAILURE = {"error": "Repository clone failed", "details": "Failed to authenticate with GitHub: invalid credentials"}


class Agent:
    """A client of an agent, with the agent's own token."""

    def __init__(self, name: str, client: Client) -> None:
        self.name, self.client = name, client

    def heartbeat(self, **more: Any) -> Response:
        return self.client.post(f"/api/agents/{self.name}/heartbeat", HEARTBEAT | more)

    def poll(self, limit: int = 10) -> Response:
        return self.client.get(f"/api/agents/{self.name}/commands", {"limit": limit})

    def claims(self) -> list[str]:
        return [command["task_id"] for command in self.poll().json()["commands"]]

    def progress(self, task_id: str, step: str = "Running test suite", **more: Any) -> Response:
        report = {"status": "in_progress", "step": step, "progress": 0.65, "details": "Executed 45/65 tests"}
        return self.client.post(f"/api/tasks/{task_id}/progress", report | more)

    def complete(self, task_id: str) -> Response:
        return self.client.post(f"/api/tasks/{task_id}/complete", COMPLETION)

    def fail(self, task_id: str, **more: Any) -> Response:
        return self.client.post(f"/api/tasks/{task_id}/fail", FAILURE | more)


@dataclass
class World:
    """A user and a platform at a time early in a minute.

    So between two calls no rate limit window ends, and agent-1 does not move in the sweep's index.
    """

    user: Client
    owner: str
    poller: EventPoller
    clock: Clock
    email: str = "user@example.com"
    submitted: int = 0
    cleanup: ExitStack = field(default_factory=ExitStack)
    """Closes what the calls of this world opened. The creator of the world must enter and exit it."""

    def __post_init__(self) -> None:
        self.next_minute()

    def next_minute(self) -> None:
        start = self.clock.now // MINUTE * MINUTE + MINUTE
        moves_at = check_at(self.owner, "agent-1", start) - INACTIVE_AFTER  # the end of the agent's minute
        late = 25 * SECOND if moves_at - start < 20 * SECOND else 0  # more time than a call takes on a slow machine
        self.clock.advance((start + late - self.clock.now) / SECOND)

    def agent(self, *capabilities: str, name: str = "agent-1", **more: Any) -> Agent:
        return register(self.user, name, *(capabilities or ["fix-bug"]), **more)

    def submit(self, intent: str = "fix-bug", by: Client | None = None, **more: Any) -> Response:
        """Submit `task-<n>`. It stays pending until its message is handled."""
        self.submitted += 1
        body = {"taskId": f"task-{self.submitted}", "intent": intent, **WORK, **more}
        return (by or self.user).post("/api/workflows/execute", body)

    def queue_tasks(self, count: int = 1, intent: str = "fix-bug", **more: Any) -> str:
        """Submit a number of tasks and make them claimable. Returns the last id."""
        for _ in range(count):
            self.submit(intent, **more)
        self.poller.drain()
        return f"task-{self.submitted}"

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Remove all messages from a queue, and return their bodies."""
        bodies = [json.loads(body) for body in moto_aws.messages(queue)]
        sqs_backends[ACCOUNT][REGION].queues[f"devflow-local-{queue}"]._messages.clear()
        return bodies

    def handle_batch(self, handler: str, messages: list[dict[str, Any]]) -> "Call":
        """A call that passes one batch of messages to a function, as Lambda does."""

        def handle() -> None:
            assert messages
            assert Handlers(self.poller._app).batch(handler, *messages) == []

        return handle

    def claim_task(self, agent: Agent) -> str:
        """Submit a task that this agent claims. Returns its id."""
        task_id = self.queue_tasks()
        assert agent.claims() == [task_id]
        return task_id

    def start_task(self, agent: Agent) -> str:
        """Submit a task that this agent claims and starts. Returns its id."""
        task_id = self.claim_task(agent)
        assert agent.progress(task_id).status == 200
        return task_id

    def long_queue(self, intent: str) -> None:
        """Store more queued tasks than one query of a poll reads, in each partition of the queue."""
        in_partition: dict[str, list[str]] = {suffix: [] for suffix in partitions.suffixes()}
        for number in itertools.count():
            task_id = f"waiting-{number}"
            in_partition[partitions.suffix(task_id)].append(task_id)
            if min(map(len, in_partition.values())) > polling.PAGE_SIZE:
                break
        task_ids = itertools.chain.from_iterable(in_partition.values())
        rows = [
            load.task_row(self.owner, task_id, self.clock.now, status="queued", intent=intent) for task_id in task_ids
        ]
        load.load(None, itertools.chain.from_iterable(rows))

    def some_tasks(self) -> None:
        """Create two completed and six queued tasks of two intents."""
        agent = self.agent()
        for _ in range(2):
            agent.complete(self.start_task(agent))
        self.queue_tasks(4)
        self.queue_tasks(2, intent="feature")


def register(user: Client, name: str, *capabilities: str, **more: Any) -> Agent:
    """Register an agent, and return its client with its own token."""
    body = {"agentId": name, "name": name, "version": "0.2.0", "capabilities": capabilities}
    response = user.post("/api/agents", body | more)
    assert response.status == 201, response
    return Agent(name, user.acting_as(response.json()["token"]))


def cache_queue_urls() -> None:
    """Cache the URLs of all queues. A container requests each URL once, and a measured call must not contain this."""
    for name in ("workflow", "events", "webhooks", "sweep"):
        sqs._queue_url(name)


def make_world(user: Client, poller: EventPoller, clock: Clock, email: str = "user@example.com") -> World:
    """A world for a user who was created a moment ago, and has submitted a task that no longer exists.

    The first submission of a user creates the rows that count usage, which the others do not.
    The first call of a session in an hour sends one more request. So the world has at least half an hour before it.
    """
    cache_queue_urls()
    remaining = HOUR - clock.now % HOUR
    if remaining < HOUR // 2:
        clock.advance(remaining / SECOND)
        user.get("/api/auth/me")
    owner = tokens.verify(user.token, clock.now).owner
    counted = quotas.count_task(owner, "task-0", 0, clock.now)
    quotas.uncount_task(owner, "task-0", 0, counted, clock.now)
    return World(user, owner, poller, clock, email)


Call = Callable[[], Any]
CALLS: dict[str, Callable[[World], Call]] = {}


def call(name: str) -> Callable[[Callable[[World], Call]], Callable[[World], Call]]:
    """Register a measured call. The decorated function prepares a world, and returns the call to measure in it."""

    def register(prepare: Callable[[World], Call]) -> Callable[[World], Call]:
        CALLS[name] = prepare
        return prepare

    return register
