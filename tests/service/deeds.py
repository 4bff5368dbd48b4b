"""Deeds: requests that carry an id, key, attempt or offset, each with what comes before it and what is so after it; and
messages and scheduled runs, which are told of in the same way. A stage for one is set as often as one likes."""

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

from moto.dynamodb.models import dynamodb_backends

from chalicelib.auth import tokens
from chalicelib.auth.service import ensure_user
from chalicelib.aws import sqs
from chalicelib.core import clock as server_clock
from chalicelib.core.errors import Unavailable
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.http.scene import Agent, Scene
from tests.service import faults, invariants
from tests.support import moto_aws, wire
from tests.support.client import Client
from tests.support.handlers import Handlers

State = dict[str, Any]


class Stage(NamedTuple):
    """A platform with nothing in it but user@example.com and agent-1."""

    scene: Scene
    agent: Agent


@dataclass(frozen=True)
class Deed:
    """A request that carries an id, key, attempt or offset, what comes before it, and what is so after it."""

    prepare: Callable[[Stage], object]
    act: Callable[[Stage], Response]
    outcome: Callable[[], State]
    expected: State
    also: tuple[int, ...] = ()
    """Statuses besides 2xx that the same request may have when it is sent again."""

    def check(self, stage: Stage) -> None:
        """It has its whole effect, once."""
        stage.scene.poller.drain()
        invariants.hold()
        assert self.outcome() == self.expected


def nothing(stage: Stage) -> None:
    """No more than a fresh stage has to be there."""


def task() -> State:
    """Its state, its attempt and its timeline, as stored."""
    (head,) = invariants.heads()
    events = sorted((row for row in invariants.rows("tasks") if row["sk"].startswith("E#")), key=lambda row: row["sk"])
    told = [row["type"].removeprefix("task.") for row in events]
    return {"status": head["status"], "attempt": head["attempt"], "events": told}


def tasks() -> State:
    return {"tasks": sorted(head["status"] for head in invariants.heads())}


def fleet() -> State:
    return {"agents": {row["agent"]: row["name"] for row in invariants.rows("agents")}}


def log() -> State:
    return {"log": [row["text"] for row in invariants.rows("tasks") if row["sk"].startswith("L#")]}


WORK = {"taskId": "task-1", "intent": "fix-bug", "repo": "r", "naturalLanguage": "Do it"}
NEW = {name: value for name, value in WORK.items() if name != "taskId"}
LIFE = ["created", "queued", "assigned", "started"]

DEEDS = {
    "submit": Deed(
        nothing,
        lambda it: it.scene.user.post("/api/workflows/execute", WORK),
        task,
        {"status": "queued", "attempt": 1, "events": LIFE[:2]},
    ),
    "submit with a key": Deed(
        nothing,
        lambda it: it.scene.user.post("/api/tasks", NEW, Idempotency_Key="key-1"),
        tasks,
        {"tasks": ["queued"]},
    ),
    "register": Deed(
        nothing,
        lambda it: it.scene.user.post(
            "/api/agents", {"agentId": "agent-2", "name": "n", "version": "1"}, Idempotency_Key="key-1"
        ),
        fleet,
        {"agents": {"agent-1": "agent-1", "agent-2": "n"}},
    ),
    "register anew": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.scene.user.post(
            "/api/agents",
            {"agentId": "agent-1", "name": "n", "version": "1", "replace": True},
            Idempotency_Key="key-1",
        ),
        task,
        {"status": "queued", "attempt": 2, "events": [*LIFE, "requeued"]},
    ),
    "remove": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.scene.user.delete("/api/agents/agent-1"),
        lambda: task() | fleet(),
        {"status": "queued", "attempt": 2, "events": [*LIFE, "requeued"], "agents": {}},
        also=(404,),
    ),
    "poll": Deed(
        lambda it: it.scene.queued(),
        lambda it: it.agent.poll(),
        task,
        {"status": "assigned", "attempt": 1, "events": LIFE[:3]},
    ),
    "first progress": Deed(
        lambda it: it.scene.claimed(it.agent),
        lambda it: it.agent.progress("task-1", 0.3, step="Cloning", attempt=1),
        task,
        {"status": "in_progress", "attempt": 1, "events": LIFE},
    ),
    "a new step": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.progress("task-1", 0.3, step="Cloning", attempt=1),
        task,
        {"status": "in_progress", "attempt": 1, "events": [*LIFE, "step"]},
    ),
    "complete": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.complete("task-1", summary="Fixed"),
        task,
        {"status": "completed", "attempt": 1, "events": [*LIFE, "completed"]},
    ),
    "complete a claim": Deed(
        lambda it: it.scene.claimed(it.agent),
        lambda it: it.agent.complete("task-1", summary="Fixed"),
        task,
        {"status": "completed", "attempt": 1, "events": [*LIFE[:3], "completed"]},
    ),
    "fail": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.fail("task-1", "It broke", logs="line 1\nline 2\n"),
        lambda: task() | log(),
        {"status": "failed", "attempt": 1, "events": [*LIFE, "failed"], "log": ["line 1\nline 2\n"]},
    ),
    "log": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "line 1\n"}),
        log,
        {"log": ["line 1\n"]},
    ),
    "cancel a claim": Deed(
        lambda it: it.scene.claimed(it.agent),
        lambda it: it.scene.user.post("/api/tasks/task-1/cancel"),
        task,
        {"status": "cancelled", "attempt": 1, "events": [*LIFE[:3], "cancelled"]},
    ),
    "cancel a run": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.scene.user.post("/api/tasks/task-1/cancel"),
        task,
        {"status": "in_progress", "attempt": 1, "events": [*LIFE, "cancel_requested"]},
    ),
    "retry": Deed(
        lambda it: it.agent.fail(it.scene.running(it.agent)),
        lambda it: it.scene.user.post("/api/tasks/task-1/retry"),
        tasks,
        {"tasks": ["failed", "queued"]},
    ),
    "heartbeat": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.beat(status="ready", taskIds=["task-1"], instanceId="process-1"),
        task,
        {"status": "in_progress", "attempt": 1, "events": LIFE},
    ),
    "disconnect": Deed(
        lambda it: it.scene.claimed(it.agent),
        lambda it: it.agent.beat(status="disconnected"),
        task,
        {"status": "queued", "attempt": 1, "events": [*LIFE[:3], "requeued"]},
    ),
    "rename": Deed(
        nothing,
        lambda it: it.scene.user.patch("/api/agents/agent-1", {"name": "renamed"}),
        fleet,
        {"agents": {"agent-1": "renamed"}},
    ),
}


def delivered(stage: Stage, handler: str, about: str = "") -> Response:
    """The first message of a queue (with this in it) is handled; 503 where it comes again."""
    (body, *_) = [json.loads(text) for text in moto_aws.messages(QUEUES[handler]) if about in text]
    return Response(503 if Handlers(stage.scene.poller._app).batch(handler, body) else 200)


def swept(stage: Stage) -> Response:
    """A scheduled run; 503 where it raises, so that AWS counts it as failed."""
    try:
        Handlers(stage.scene.poller._app).sweep()
    except Unavailable:
        return Response(503)
    return Response(200)


def minutes(stage: Stage, many: int, *alive: Agent) -> int:
    """So much time passes, with a scheduled run each minute but the last; how much."""
    for left in reversed(range(many)):
        server_clock.shift(60)
        for agent in alive:
            agent.beat()
        if left:
            swept(stage)
    return many


def lose_messages() -> bool:
    moto_aws.empty_queues()
    return True


def announced() -> State:
    """How many open tasks its user has, and how many events are still to be announced."""
    (user,) = invariants.rows("users")
    unsent = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    return {"open": user["openTasks"], "unsent": len(unsent)}


def _runs_and_is_to_be_cancelled(stage: Stage) -> None:
    stage.scene.running(stage.agent)
    stage.scene.user.post("/api/tasks/task-1/cancel")
    minutes(stage, 2, stage.agent)


QUEUES = {"run_workflows": "workflow", "announce_events": "events", "deliver_webhooks": "webhooks"}


EVENTS = {
    "a message of the workflow queue": Deed(
        lambda it: it.scene.submit(),
        lambda it: delivered(it, "run_workflows"),
        task,
        {"status": "queued", "attempt": 1, "events": LIFE[:2]},
    ),
    "a message of the queue of events": Deed(
        lambda it: it.scene.queued(),
        lambda it: delivered(it, "announce_events", "task-1"),
        lambda: task() | announced(),
        {"status": "queued", "attempt": 1, "events": LIFE[:2], "open": 1, "unsent": 0},
    ),
    "a sweep that finds a lost message": Deed(
        lambda it: (it.scene.submit(), lose_messages(), minutes(it, 2)),
        swept,
        task,
        {"status": "queued", "attempt": 1, "events": LIFE[:2]},
    ),
    "a sweep that finds an event nobody sent": Deed(
        lambda it: (it.scene.queued(), lose_messages(), minutes(it, 4)),
        swept,
        lambda: task() | announced(),
        {"status": "queued", "attempt": 1, "events": LIFE[:2], "open": 1, "unsent": 0},
    ),
    "a sweep that finds a claim run out": Deed(
        lambda it: (it.scene.claimed(it.agent), minutes(it, 2, it.agent)),
        swept,
        task,
        {"status": "queued", "attempt": 1, "events": [*LIFE[:3], "requeued"]},
    ),
    "a sweep that finds an agent silent": Deed(
        lambda it: (it.scene.running(it.agent), minutes(it, 4)),
        swept,
        lambda: task() | {"agents": [row["state"] for row in invariants.rows("agents")]},
        {"status": "in_progress", "attempt": 1, "events": LIFE, "agents": ["inactive"]},
    ),
    "a sweep that finds an agent lost": Deed(
        lambda it: (it.scene.running(it.agent), minutes(it, 11)),
        swept,
        task,
        {"status": "queued", "attempt": 2, "events": [*LIFE, "requeued"]},
    ),
    "a sweep that finds a run too long": Deed(
        lambda it: (it.scene.running(it.agent, timeoutSeconds=60), minutes(it, 2, it.agent)),
        swept,
        task,
        {"status": "failed", "attempt": 1, "events": [*LIFE, "failed"]},
    ),
    "a sweep that finds a cancel's grace over": Deed(
        _runs_and_is_to_be_cancelled,
        swept,
        task,
        {"status": "cancelled", "attempt": 1, "events": [*LIFE, "cancel_requested", "cancelled"]},
    ),
}
"""The same of what nobody asks for by a request: messages, and scheduled runs that find something."""


@dataclass(frozen=True)
class Prepared:
    """A stage on which a deed may be done: what is stored, whose tokens there are, and when that was."""

    tables: Mapping[str, Any]
    user: str | None
    agent: str | None
    at: int
    calls: list[str]
    """The requests that the deed makes, in their order."""

    messages: Mapping[str, list[str]]
    """By queue."""


_prepared: dict[int, Prepared] = {}
"""By deed: to prepare one takes many requests, to put back what is stored takes none."""


class Setting:
    """Sets the stage for a deed, as often as one is asked for."""

    def __init__(self, user: Client, poller: EventPoller) -> None:
        self._user, self._poller = user, poller

    def calls(self, deed: Deed) -> list[str]:
        """The requests that a deed makes of AWS, in their order."""
        return self._prepared(deed).calls

    def changes(self, deed: Deed) -> list[str]:
        """Those of them with which it changes something."""
        return [operation for operation in self.calls(deed) if operation in faults.CHANGES]

    def stage(self, deed: Deed) -> Stage:
        prepared = self._prepared(deed)
        moto_aws.empty()
        for name, items in prepared.tables.items():
            _tables()[name].items = deepcopy(items)
        for name, bodies in prepared.messages.items():
            for body in bodies:
                sqs.send(name, json.loads(body))
        server_clock._shifted_ms = prepared.at - int(time.time() * 1_000)
        scene = Scene(self._user.acting_as(prepared.user), self._poller)
        return Stage(scene, Agent("agent-1", scene.user.acting_as(prepared.agent)))

    def _prepared(self, deed: Deed) -> Prepared:
        if id(deed) not in _prepared:
            moto_aws.empty()
            _prepared[id(deed)] = self._prepare(deed)
        return _prepared[id(deed)]

    def _prepare(self, deed: Deed) -> Prepared:
        now = server_clock.now()
        owner = ensure_user("user@example.com", "John Doe", "123456", now)
        version = str(next(row["ver"] for row in invariants.rows("users")))
        scene = Scene(self._user.acting_as(tokens.issue("user", owner, owner, version, now)), self._poller)
        agent = scene.agent()
        scene.poller.drain()  # nothing of that is left to be told
        deed.prepare(Stage(scene, agent))
        tables = {name: deepcopy(table.items) for name, table in _tables().items()}
        messages = {name: moto_aws.messages(name) for name in QUEUES.values()}
        at = server_clock.now()
        with wire.recorded() as sent:
            deed.act(Stage(scene, agent))
        calls = [request.operation for request in sent]
        return Prepared(tables, scene.user.token, agent.client.token, at, calls, messages)


def _tables() -> Any:
    return dynamodb_backends[ACCOUNT][REGION].tables
