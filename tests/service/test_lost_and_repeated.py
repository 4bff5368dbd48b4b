"""Promises 4 and 5: answers lost on the way from AWS, writers in the way, processes that die, requests sent again."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from moto.dynamodb.models import dynamodb_backends

from chalicelib import clock as server_clock
from chalicelib.auth import tokens
from chalicelib.auth.service import ensure_user
from infra.local.gateway import Response
from infra.local.lambdas import ACCOUNT, REGION
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.scene import Agent, Scene
from tests.service import faults, invariants
from tests.service.conftest import Passing, Sharded
from tests.support import moto_aws, wire
from tests.support.client import Client

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

ALIKE = {"submit with a key", "register", "complete a claim", "log", "cancel a claim", "retry", "heartbeat", "rename"}
"""Deeds that go the way of another one; the long tests have them too."""

every_deed = pytest.mark.parametrize(
    "deed",
    [pytest.param(deed, id=name, marks=[pytest.mark.long] * (name in ALIKE)) for name, deed in DEEDS.items()],
)


@dataclass(frozen=True)
class Prepared:
    """A stage on which a deed may be done: what is stored, whose tokens there are, and when that was."""

    tables: Mapping[str, Any]
    user: str | None
    agent: str | None
    at: int
    changes: list[str]
    """The requests with which the deed changes something, in their order."""


_prepared: dict[int, Prepared] = {}
"""By deed: to prepare one takes many requests, to put back what is stored takes none."""


class Setting:
    """Sets the stage for a deed, as often as one is asked for."""

    def __init__(self, user: Client, pump: Pump) -> None:
        self._user, self._pump = user, pump

    def changes(self, deed: Deed) -> list[str]:
        """The requests with which a deed changes something, in their order."""
        return self._prepared(deed).changes

    def stage(self, deed: Deed) -> Stage:
        prepared = self._prepared(deed)
        moto_aws.empty()
        for name, items in prepared.tables.items():
            _tables()[name].items = deepcopy(items)
        server_clock._shifted_ms = prepared.at - int(time.time() * 1_000)
        scene = Scene(self._user.acting_as(prepared.user), self._pump)
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
        scene = Scene(self._user.acting_as(tokens.issue("user", owner, owner, version, now)), self._pump)
        agent = scene.agent()
        deed.prepare(Stage(scene, agent))
        tables = {name: deepcopy(table.items) for name, table in _tables().items()}
        at = server_clock.now()
        with wire.recorded() as sent:
            deed.act(Stage(scene, agent))
        changes = [request.operation for request in sent if request.operation in faults.CHANGES]
        return Prepared(tables, scene.user.token, agent.client.token, at, changes)


def _tables() -> Any:
    return dynamodb_backends[ACCOUNT][REGION].tables


@pytest.fixture
def setting(anonymous: Client, pump: Pump, clock: Clock, sharded: Sharded) -> Setting:
    """Sets the stage; with one shard, so that a sweep is two queries."""
    sharded(1)
    return Setting(anonymous, pump)


def check(scene: Scene, deed: Deed) -> None:
    """A deed has its whole effect, once."""
    scene.pump.drain()
    invariants.hold()
    assert deed.outcome() == deed.expected


@every_deed
def test_sent_again_it_is_a_success_and_has_its_effect_once(setting: Setting, deed: Deed) -> None:
    stage = setting.stage(deed)
    assert deed.act(stage).status < 300
    answer = deed.act(stage)
    assert answer.status < 300 or answer.status in deed.also
    check(stage.scene, deed)


@every_deed
def test_whichever_write_loses_its_answer_the_request_succeeds_with_one_effect(
    setting: Setting, deed: Deed, no_pauses: None
) -> None:
    """botocore sends such a write again by itself, and then meets what the first one has done."""
    for nth, operation in enumerate(setting.changes(deed)):
        stage = setting.stage(deed)
        with faults.nth_answer_lost(nth):
            answer = deed.act(stage)
        assert answer.status < 300, (nth, operation, answer)
        check(stage.scene, deed)


@every_deed
def test_other_writers_in_the_way_of_every_write_are_waited_for(setting: Setting, deed: Deed, no_pauses: None) -> None:
    """A heartbeat that overlaps a complete on the agent's row, for one: moto never raises these conflicts, AWS does."""
    stage = setting.stage(deed)
    busy = iter([True, True, False] * 100)

    def often(params: dict[str, Any]) -> bool:
        return next(busy)

    reasons = [{"Code": "TransactionConflict"}]
    with (
        faults.refused("UpdateItem", "TransactionConflictException", times=100, when=often),
        faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=100, when=often),
    ):
        assert deed.act(stage).status < 300
    check(stage.scene, deed)


@every_deed
def test_wherever_the_process_dies_the_same_request_finishes_the_work(setting: Setting, deed: Deed) -> None:
    for after, operation in enumerate(setting.changes(deed), 1):
        stage = setting.stage(deed)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        invariants.hold()
        answer = deed.act(stage)
        assert answer.status < 300 or answer.status in deed.also, (after, operation, answer)
        stage.scene.pump.sweep()
        check(stage.scene, deed)


@pytest.mark.parametrize("name", ["submit", "register anew", "remove", "poll", "cancel a run"])
def test_wherever_the_process_dies_for_good_every_task_still_comes_to_its_end(
    setting: Setting, name: str, passing: Passing
) -> None:
    """Promise 1: nobody asks again and no agent is heard of any more."""
    deed = DEEDS[name]
    for after, _ in enumerate(setting.changes(deed), 1):
        stage = setting.stage(deed)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        for minutes in (2, 5, 11, 121, 60 * 24, 3):
            passing(minutes)
            invariants.hold()
        assert not invariants.open_heads()
