"""Records the calls that `bench/cpu.py` measures, by calling DevFlow on moto in this process. Every implementation then
runs on the same recording.

A recording has the event, the requests to AWS and their responses, DevFlow's response, and the rows before and after.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core import clock
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from infra.local.lambda_context import Context
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, Call, World, make_world
from tests.long import load
from tests.support import aws_requests, moto_aws
from tests.support.environment import STAGE
from tests.support.users import make_user

TABLES = ("users", "credentials", "agents", "tasks")
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Exchange:
    """One request to AWS and its response."""

    operation: str
    tables: list[str]
    response: dict[str, Any]


@dataclass
class Scenario:
    """One call. A rejected call must end in an error, and is not measured."""

    name: str
    now: int
    event: dict[str, Any]
    before: Rows = field(repr=False)
    is_rejected: bool = False
    exchanges: list[Exchange] = field(default_factory=list)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    after: Rows = field(default_factory=dict, repr=False)


class EventRecorder:
    """Wraps the app and keeps the last event that the gateway created."""

    def __init__(self, app: Any) -> None:
        self.app, self.routes = app, app.routes
        self.event: dict[str, Any] = {}

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        self.event = event
        return self.app(event, context)


def _claim_tasks(number: int) -> Callable[[World], Call]:
    def prepare(world: World) -> Call:
        world.queue_tasks(number)
        return world.agent().poll

    return prepare


def _renew_claims(number: int) -> Callable[[World], Call]:
    def prepare(world: World) -> Call:
        world.queue_tasks(number)
        agent = world.agent()
        agent.poll()
        return agent.poll

    return prepare


def _list_tasks(world: World) -> Call:
    load.load(None, load.task_rows(world.owner, 150, world.clock.now))
    return lambda: world.user.get("/api/tasks", {"limit": 100})


MEASURED: dict[str, Callable[[World], Call]] = {
    "heartbeat": CALLS["heartbeat"],
    "idle poll": CALLS["idle poll, empty queue"],
    "poll, claims 10": _claim_tasks(10),
    "poll, finds 10": _renew_claims(10),
    "progress": CALLS["progress, the same step"],
    "page of 100 tasks": _list_tasks,
}
"""The calls that are measured. The page of 100 lists tasks, because a poll returns at most 20 commands."""

REJECTED: dict[str, Callable[[World], Call]] = {}
"""The calls that every implementation must reject as DevFlow does."""


def rejected(name: str) -> Callable[[Callable[[World], Call]], None]:
    def register(prepare: Callable[[World], Call]) -> None:
        REJECTED[name] = prepare

    return register


@rejected("a token with the signature of another token")
def _forged(world: World) -> Call:
    agent = world.agent()
    head, payload, _ = (agent.client.token or "").split(".")
    _, _, signature = (world.user.token or "").split(".")
    forged = agent.client.acting_as(f"{head}.{payload}.{signature}")
    return lambda: forged.post("/api/agents/agent-1/heartbeat", {})


@rejected("a revoked token")
def _revoked(world: World) -> Call:
    agent = world.agent()
    world.user.post("/api/agents/agent-1/token")
    return agent.heartbeat


@rejected("a session after logout")
def _logged_out(world: World) -> Call:
    world.user.post("/api/auth/logout")
    return lambda: world.user.get("/api/tasks")


@rejected("the id of another agent")
def _foreign(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.get("/api/agents/agent-2/commands")


@rejected("an agent's token for the list of tasks")
def _not_a_user(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.get("/api/tasks")


@rejected("a heartbeat above the rate limit")
def _too_often(world: World) -> Call:
    agent = world.agent()
    for _ in range(10):
        agent.heartbeat()
    return agent.heartbeat


@rejected("a negative uptime")
def _negative(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.heartbeat(uptime=-1)


@rejected("a limit of 0")
def _no_limit(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.poll(limit=0)


@rejected("a report without progress")
def _no_progress(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.post("/api/tasks/task-1/progress", {"step": "x"})


@rejected("a progress above 1")
def _too_far(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.progress("task-1", progress=1.5)


@contextmanager
def freeze_clock(instant: int) -> Iterator[None]:
    """Stop DevFlow's clock at an instant (epoch milliseconds)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: instant)
        yield


def record() -> list[Scenario]:
    """Record every scenario. The caller must have deployed AWS in this process (`moto_aws.deployed`)."""
    from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

    recorder = EventRecorder(app)
    gateway, poller, server_clock = Gateway(recorder), EventPoller(recorder.app), Clock()
    scenarios = []
    for name, prepare in (MEASURED | REJECTED).items():
        moto_aws.empty()
        world = make_world(make_user(gateway), poller, server_clock)
        call = prepare(world)
        instant = clock.now()
        before = read_rows()
        with freeze_clock(instant), aws_requests.recorded() as sent:
            response = call()
        scenarios.append(
            Scenario(
                name=name,
                now=instant,
                event=recorder.event,
                before=before,
                is_rejected=name in REJECTED,
                exchanges=[
                    Exchange(request.operation, request.tables, _strip_metadata(request.response)) for request in sent
                ],
                status=response.status,
                headers=dict(response.headers),
                body=response.json(),
                after=read_rows(),
            )
        )
        assert (response.status < 300) is not scenarios[-1].is_rejected, response
    return scenarios


def _strip_metadata(response: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in response.items() if name not in ("ResponseMetadata", "ConsumedCapacity")}


def read_rows() -> Rows:
    return {table: moto_aws.rows(table) for table in TABLES}


def replace_rows(stored: Rows) -> None:
    """Replace all stored rows by these."""
    moto_aws.empty()
    named_rows = [(f"devflow-{STAGE}-{table}", row) for table, rows in stored.items() for row in rows]
    load.load(None, named_rows)


def save(scenarios: list[Scenario], path: Path) -> None:
    path.write_text(json.dumps([asdict(scenario) for scenario in scenarios]), encoding="utf-8")


def read(path: Path) -> list[Scenario]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [
        Scenario(**each | {"exchanges": [Exchange(**exchange) for exchange in each["exchanges"]]}) for each in stored
    ]


def make_context() -> Context:
    return Context("devflow-local")
