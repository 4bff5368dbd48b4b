"""Promises 4 and 5: answers lost on the way from AWS, writers in the way, processes that die, requests sent again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from infra.local.gateway import Response
from infra.local.pump import Pump
from tests.http.scene import Agent, Scene, ok
from tests.service import faults, invariants
from tests.service.conftest import Passing
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
    outcome: Callable[[Scene], State]
    expected: State
    also: tuple[int, ...] = ()
    """Statuses besides 2xx that the same request may have when it is sent again."""


def nothing(stage: Stage) -> None:
    """No more than a fresh stage has to be there."""


def task(scene: Scene) -> State:
    found = scene.task()
    return {"status": found["status"], "attempt": found["attempt"], "events": scene.events()}


def tasks(scene: Scene) -> State:
    return {"tasks": [found["status"] for found in ok(scene.user.get("/api/tasks"))["data"]]}


def fleet(scene: Scene) -> State:
    return {"agents": [agent["id"] for agent in ok(scene.user.get("/api/agents"))["data"]]}


def log(scene: Scene) -> State:
    return {"log": ok(scene.user.get("/api/tasks/task-1/logs"))["data"]}


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
        {"agents": ["agent-1", "agent-2"]},
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
        lambda scene: task(scene) | fleet(scene),
        {"status": "queued", "attempt": 2, "events": [*LIFE, "requeued"], "agents": []},
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
        lambda scene: task(scene) | log(scene),
        {"status": "failed", "attempt": 1, "events": [*LIFE, "failed"], "log": "line 1\nline 2\n"},
    ),
    "log": Deed(
        lambda it: it.scene.running(it.agent),
        lambda it: it.agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "line 1\n"}),
        log,
        {"log": "line 1\n"},
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
        {"tasks": ["queued", "failed"]},
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
        lambda scene: {"name": scene.shown()["name"]},
        {"name": "renamed"},
    ),
}

every_deed = pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)

NewStage = Callable[[], Stage]


@pytest.fixture
def new_stage(make_user: Callable[..., Client], pump: Pump) -> NewStage:
    """A fresh stage, as often as one is asked for."""

    def make() -> Stage:
        moto_aws.empty()
        scene = Scene(make_user(), pump)
        return Stage(scene, scene.agent())

    return make


def changes(new_stage: NewStage, deed: Deed) -> list[str]:
    """The requests with which a deed changes something, in their order."""
    stage = new_stage()
    deed.prepare(stage)
    with wire.recorded() as sent:
        deed.act(stage)
    return [request.operation for request in sent if request.operation in faults.CHANGES]


def check(scene: Scene, deed: Deed) -> None:
    """A deed has its whole effect, once."""
    scene.pump.drain()
    invariants.hold()
    assert deed.outcome(scene) == deed.expected


@every_deed
def test_sent_again_it_is_a_success_and_has_its_effect_once(new_stage: NewStage, deed: Deed) -> None:
    stage = new_stage()
    deed.prepare(stage)
    assert deed.act(stage).status < 300
    check(stage.scene, deed)
    for _ in range(2):
        answer = deed.act(stage)
        assert answer.status < 300 or answer.status in deed.also
    check(stage.scene, deed)


@every_deed
def test_whichever_write_loses_its_answer_the_request_succeeds_with_one_effect(
    new_stage: NewStage, deed: Deed, no_pauses: None
) -> None:
    """botocore sends such a write again by itself, and then meets what the first one has done."""
    for nth, operation in enumerate(changes(new_stage, deed)):
        stage = new_stage()
        deed.prepare(stage)
        with faults.nth_answer_lost(nth):
            answer = deed.act(stage)
        assert answer.status < 300, (nth, operation, answer)
        check(stage.scene, deed)


@every_deed
def test_other_writers_in_the_way_of_every_write_are_waited_for(
    new_stage: NewStage, deed: Deed, no_pauses: None
) -> None:
    """A heartbeat that overlaps a complete on the agent's row, for one: moto never raises these conflicts, AWS does."""
    stage = new_stage()
    deed.prepare(stage)
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
def test_wherever_the_process_dies_the_same_request_finishes_the_work(new_stage: NewStage, deed: Deed) -> None:
    for after, operation in enumerate(changes(new_stage, deed), 1):
        stage = new_stage()
        deed.prepare(stage)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        invariants.hold()
        answer = deed.act(stage)
        assert answer.status < 300 or answer.status in deed.also, (after, operation, answer)
        stage.scene.pump.sweep()
        check(stage.scene, deed)


@every_deed
def test_wherever_the_process_dies_for_good_every_task_still_comes_to_its_end(
    new_stage: NewStage, deed: Deed, passing: Passing
) -> None:
    """Promise 1: nobody asks again and no agent is heard of any more."""
    for after, _ in enumerate(changes(new_stage, deed), 1):
        stage = new_stage()
        deed.prepare(stage)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        for minutes in (1, 1, 2, 3, 5, 11, 121, 60 * 24, 60 * 24, 5):
            passing(minutes)
            invariants.hold()
        assert not invariants.open_heads()
