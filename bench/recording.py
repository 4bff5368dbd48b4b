"""Records the calls to be measured: what DevFlow is asked, what it asks of AWS, what it answers, and the rows before
and after, over moto in this process. What a contender of `bench/cpu.py` then meets is the same for all of them.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core import clock
from infra.local.gateway import Gateway
from infra.local.lambdas import Context
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, Call, World, make_world
from tests.long import load
from tests.support import moto_aws, wire
from tests.support.environment import STAGE
from tests.support.users import make_user

TABLES = ("users", "agents", "tasks")
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Exchange:
    """One request to AWS and its answer."""

    operation: str
    tables: list[str]
    answer: dict[str, Any]


@dataclass
class Scenario:
    """One call. A `probe` is one that must be refused, and is not measured."""

    name: str
    now: int
    event: dict[str, Any]
    before: Rows = field(repr=False)
    probe: bool = False
    exchanges: list[Exchange] = field(default_factory=list)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    after: Rows = field(default_factory=dict, repr=False)


class Tap:
    """Stands before the app and keeps the event that the gateway made."""

    def __init__(self, app: Any) -> None:
        self.app, self.routes = app, app.routes
        self.event: dict[str, Any] = {}

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        self.event = event
        return self.app(event, context)


def _claims(many: int) -> Callable[[World], Call]:
    def prepare(world: World) -> Call:
        world.queued(many)
        return world.agent().poll

    return prepare


def _finds(many: int) -> Callable[[World], Call]:
    def prepare(world: World) -> Call:
        world.queued(many)
        agent = world.agent()
        agent.poll()
        return agent.poll

    return prepare


def _page(world: World) -> Call:
    load.load(None, load.task_rows(world.owner, 150, world.clock.now))
    return lambda: world.user.get("/api/tasks", {"limit": 100})


MEASURED: dict[str, Callable[[World], Call]] = {
    "heartbeat": CALLS["heartbeat"],
    "idle poll": CALLS["idle poll, empty queue"],
    "poll, claims 10": _claims(10),
    "poll, finds 10": _finds(10),
    "progress": CALLS["progress, the same step"],
    "page of 100 tasks": _page,
}
"""The calls that are compared. An agent holds at most 20 tasks, so a page of 100 is one of tasks, not of commands."""

PROBES: dict[str, Callable[[World], Call]] = {}


def probe(name: str) -> Callable[[Callable[[World], Call]], None]:
    def register(prepare: Callable[[World], Call]) -> None:
        PROBES[name] = prepare

    return register


@probe("a token with another's signature")
def _forged(world: World) -> Call:
    agent = world.agent()
    head, payload, _ = (agent.client.token or "").split(".")
    _, _, signature = (world.user.token or "").split(".")
    forged = agent.client.acting_as(f"{head}.{payload}.{signature}")
    return lambda: forged.post("/api/agents/agent-1/heartbeat", {})


@probe("a revoked token")
def _revoked(world: World) -> Call:
    agent = world.agent()
    world.user.post("/api/agents/agent-1/token")
    return agent.beat


@probe("a session that was logged out")
def _logged_out(world: World) -> Call:
    world.user.post("/api/auth/logout")
    return lambda: world.user.get("/api/tasks")


@probe("another's agent")
def _foreign(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.get("/api/agents/agent-2/commands")


@probe("an agent's token for a user's list")
def _not_a_user(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.get("/api/tasks")


@probe("a heartbeat too many")
def _too_often(world: World) -> Call:
    agent = world.agent()
    for _ in range(10):
        agent.beat()
    return agent.beat


@probe("a negative figure")
def _negative(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.beat(uptime=-1)


@probe("a limit of nothing")
def _no_limit(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.poll(limit=0)


@probe("no progress")
def _no_progress(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.post("/api/tasks/task-1/progress", {"step": "x"})


@probe("more progress than there is")
def _too_far(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.progress("task-1", progress=1.5)


@contextmanager
def at(instant: int) -> Iterator[None]:
    """The server's clock stands still."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: instant)
        yield


def record() -> list[Scenario]:
    """Every scenario, by the product itself. AWS in this process must be deployed already."""
    from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

    tap = Tap(app)
    gateway, pump, moved = Gateway(tap), Pump(tap.app), Clock()
    found = []
    for name, prepare in (MEASURED | PROBES).items():
        moto_aws.empty()
        world = make_world(make_user(gateway), pump, moved)
        call = prepare(world)
        instant = clock.now()
        before = rows()
        with at(instant), wire.recorded() as sent:
            answer = call()
        found.append(
            Scenario(
                name=name,
                now=instant,
                event=tap.event,
                before=before,
                probe=name in PROBES,
                exchanges=[
                    Exchange(request.operation, request.tables, _plain_answer(request.answer)) for request in sent
                ],
                status=answer.status,
                headers=dict(answer.headers),
                body=answer.json(),
                after=rows(),
            )
        )
        assert (answer.status < 300) is not found[-1].probe, answer
    return found


def _plain_answer(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("ResponseMetadata", "ConsumedCapacity")}


def rows() -> Rows:
    return {table: moto_aws.rows(table) for table in TABLES}


def put(stored: Rows) -> None:
    """Nothing but these rows."""
    moto_aws.empty()
    names = [(f"devflow-{STAGE}-{table}", row) for table, each in stored.items() for row in each]
    load.load(None, names)


def save(scenarios: list[Scenario], path: Path) -> None:
    path.write_text(json.dumps([asdict(scenario) for scenario in scenarios]), encoding="utf-8")


def restore(path: Path) -> list[Scenario]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [
        Scenario(**each | {"exchanges": [Exchange(**exchange) for exchange in each["exchanges"]]}) for each in stored
    ]


def context() -> Context:
    return Context("devflow-local")
