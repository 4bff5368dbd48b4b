"""The calls that test_budget.py measures: each prepares a world and gives back the one call to measure in it."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib import queue
from chalicelib.agents.model import INACTIVE_AFTER
from chalicelib.auth import tokens
from chalicelib.settings import KB, MINUTE, SECOND
from chalicelib.tasks import claims
from infra.local.gateway import Response
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.long import load
from tests.support.client import Client

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
    pump: Pump
    clock: Clock
    submitted: int = 0

    def __post_init__(self) -> None:
        self.next_minute()

    def next_minute(self) -> None:
        self.clock.advance((MINUTE - self.clock.now % MINUTE) / SECOND)

    def agent(self, *capabilities: str, name: str = "agent-1", **more: Any) -> Agent:
        body = {"agentId": name, "name": name, "version": "0.2.0", "capabilities": capabilities or ["fix-bug"]}
        answer = self.user.post("/api/agents", body | more)
        assert answer.status == 201, answer
        return Agent(name, self.user.acting_as(answer.json()["token"]))

    def submit(self, intent: str = "fix-bug", by: Client | None = None, **more: Any) -> Response:
        """Submit `task-<n>`, which stays pending until its message is handled."""
        self.submitted += 1
        body = {"taskId": f"task-{self.submitted}", "intent": intent, **WORK, **more}
        return (by or self.user).post("/api/workflows/execute", body)

    def queued(self, many: int = 1, intent: str = "fix-bug", **more: Any) -> str:
        """Submit so many tasks and make them claimable; the last one's id."""
        for _ in range(many):
            self.submit(intent, **more)
        self.pump.drain()
        return f"task-{self.submitted}"

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
        waiting = [f"waiting-{number}" for number in range(claims.PAGE + 1)]
        rows = [load.task_row(self.owner, task, self.clock.now, status="queued", intent=intent) for task in waiting]
        load.load(None, itertools.chain.from_iterable(rows))

    def some_tasks(self) -> None:
        """Two completed and six queued ones, of two intents."""
        agent = self.agent()
        for _ in range(2):
            agent.complete(self.running(agent))
        self.queued(4)
        self.queued(2, intent="feature")


def make_world(user: Client, pump: Pump, clock: Clock) -> World:
    """The world of a user who was made just now."""
    for name in ("workflow", "events", "webhooks"):
        queue._address(name)  # which a container asks for once
    owner = tokens.verify(user.token, clock.now).owner
    return World(user, owner, pump, clock)


Call = Callable[[], Any]
CALLS: dict[str, Callable[[World], Call]] = {}


def call(name: str) -> Callable[[Callable[[World], Call]], Callable[[World], Call]]:
    def register(prepare: Callable[[World], Call]) -> Callable[[World], Call]:
        CALLS[name] = prepare
        return prepare

    return register


@call("heartbeat")
def _heartbeat(world: World) -> Call:
    agent = world.agent()
    agent.beat()
    return agent.beat


@call("heartbeat, first of a minute")
def _heartbeat_of_a_new_minute(world: World) -> Call:
    agent = world.agent()
    agent.beat()
    world.next_minute()
    return agent.beat


@call("heartbeat, changes everything")
def _heartbeat_that_changes_everything(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.beat(status="busy", version="0.3.0", capabilities=["fix-bug", "feature"], concurrency=3)


@call("heartbeat, runs a task and says so")
def _heartbeat_of_a_busy_agent(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.beat(status="busy", taskIds=[task])


@call("idle poll, empty queue")
def _idle_poll(world: World) -> Call:
    return world.agent().poll


@call("idle poll, others' queue")
def _idle_poll_beside_others(world: World) -> Call:
    world.queued(5, intent="feature")
    return world.agent("fix-bug", "review-pr").poll


@call("idle poll, runs a task")
def _idle_poll_of_a_busy_agent(world: World) -> Call:
    agent = world.agent()
    world.running(agent)
    return agent.poll


@call("idle poll, long queue, 1 capability")
def _idle_poll_of_a_long_queue(world: World) -> Call:
    agent = world.agent("fix-bug")
    world.long_queue("feature")
    agent.poll()
    return agent.poll


@call("idle poll, long queue, 3 capabilities")
def _idle_poll_of_a_long_queue_by_an_able_agent(world: World) -> Call:
    agent = world.agent("explain", "fix-bug", "review-pr")
    world.long_queue("feature")
    agent.poll()
    return agent.poll


@call("poll that claims 1")
def _claiming_poll(world: World) -> Call:
    world.queued()
    return world.agent().poll


@call("poll that claims 4")
def _claiming_poll_of_four(world: World) -> Call:
    world.queued(6)
    return world.agent(concurrency=4).poll


@call("poll that claims 1 pinned to it")
def _claiming_poll_of_a_pinned_task(world: World) -> Call:
    agent = world.agent()
    world.queued(agentId=agent.name)
    return agent.poll


@call("poll that finds 1 claim")
def _finding_poll(world: World) -> Call:
    agent = world.agent()
    world.claimed(agent)
    return agent.poll


@call("progress, the first")
def _first_progress(world: World) -> Call:
    agent = world.agent()
    task = world.claimed(agent)
    return lambda: agent.progress(task)


@call("progress, the same step")
def _progress(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.progress(task, progress=0.7)


@call("progress, a new step")
def _progress_with_a_new_step(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.progress(task, "Opening the pull request")


@call("complete")
def _complete(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.complete(task)


@call("complete, never started")
def _complete_what_was_never_started(world: World) -> Call:
    agent = world.agent()
    task = world.claimed(agent)
    return lambda: agent.complete(task)


@call("fail")
def _fail(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.fail(task)


@call("fail with 300 KB of logs")
def _fail_with_logs(world: World) -> Call:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.fail(task, logs="x" * 300 * KB)


@call("submit")
def _submit(world: World) -> Call:
    return world.submit


@call("submit, by an agent")
def _submit_by_an_agent(world: World) -> Call:
    agent = world.agent()
    return lambda: world.submit(by=agent.client)


@call("page of tasks")
def _page_of_tasks(world: World) -> Call:
    world.some_tasks()
    return lambda: world.user.get("/api/tasks", {"limit": 5})


@call("page of tasks, by cursor")
def _page_of_tasks_by_cursor(world: World) -> Call:
    world.some_tasks()
    cursor = world.user.get("/api/tasks", {"limit": 4}).json()["nextCursor"]
    return lambda: world.user.get("/api/tasks", {"limit": 4, "cursor": cursor})


@call("page of agents")
def _page_of_agents(world: World) -> Call:
    for number in range(6):
        world.agent(name=f"agent-{number}")
    return lambda: world.user.get("/api/agents", {"limit": 5})


@call("page of events")
def _page_of_events(world: World) -> Call:
    task = world.running(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task}/events")


@call("sweep, idle")
def _idle_sweep(world: World) -> Call:
    world.running(world.agent())
    world.queued()
    world.pump.sweep()
    return world.pump.sweep


@call("sweep, 4 agents silent")
def _sweep_of_agents(world: World) -> Call:
    for number in range(4):
        world.agent(name=f"agent-{number}")
    world.pump.sweep()
    world.next_minute()
    world.clock.advance(90)
    world.pump.sweep()
    world.clock.advance(INACTIVE_AFTER / SECOND - 90)
    return world.pump.sweep


@call("sweep, 4 claims ran out")
def _sweep_of_claims(world: World) -> Call:
    agents = [world.agent(name=f"agent-{number}") for number in range(4)]
    for agent in agents:
        world.claimed(agent)
    world.pump.sweep()
    world.clock.advance(61)
    for agent in agents:
        agent.beat()
    return world.pump.sweep


@call("sweep, 4 messages lost")
def _sweep_of_lost_messages(world: World) -> Call:
    for _ in range(4):
        world.submit()
    world.pump.sweep()
    world.clock.advance(61)
    return world.pump.sweep


@call("message of the workflow queue")
def _message(world: World) -> Call:
    world.submit()
    return world.pump.drain


@call("show a task")
def _show_task(world: World) -> Call:
    task = world.running(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task}")


@call("show an agent")
def _show_agent(world: World) -> Call:
    world.agent()
    return lambda: world.user.get("/api/agents/agent-1")


@call("register an agent")
def _register(world: World) -> Call:
    return world.agent
