"""Records the requests of one call of each kind, as effects on keys, in which placeholders replace the ids.

The calls run through the whole app on moto. For every request that botocore sends, the recorder compares the stored
items before and after it. So it needs no knowledge of the stores: a changed store changes the recording.

A shard in a key is replaced by the name of the function that computes it (SHARDS). The recorder checks that this
function returns the recorded shard.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from moto.dynamodb.models import dynamodb_backends

from bench import quiet
from bench.partitions.tables import Effect, Image, TableKeys, load_tables, plain, read_effect, write_effects
from chalicelib import dynamodb
from chalicelib.agents import tables as agent_tables
from chalicelib.auth import rules as auth_rules
from chalicelib.core import clock
from chalicelib.core.settings import SECOND, settings
from chalicelib.tasks import partitions
from chalicelib.tasks.entities import MAX_PRIORITY, OPEN_STATUSES
from chalicelib.tasks.tables import partition_key
from chalicelib.webhooks import tables as webhook_tables
from chalicelib.webhooks.tables import DELIVERY
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.http.budget_calls import Agent, Call, World, make_world
from tests.http.webhook_helpers import create_webhook
from tests.support import aws_requests, moto_aws
from tests.support.aws_requests import Request
from tests.support.users import make_user
from tests.support.webhook_receiver import Receiver

AGENT, TASK, INTENT = "recorded-agent", "recorded-task", "recorded-intent"

START = 1_767_600_000_000
"""When the recordings begin, in epoch milliseconds: the beginning of a minute. The clock stands still."""

Template = tuple[Effect, ...]
"""The effects of one call. Their keys contain placeholders: `{owner}`, `{agent}`, `{task}`, `{intent}`,
`{agent_shard}` and `{task_shard}`. If the stage has several team partitions, PARTITION replaces the suffix of the
task's partition."""

PARTITION = "{partition}"

LOG_BYTES = 1_000
"""Bytes of a recorded chunk of a log."""


class Journal:
    """Collects the effects of all requests to DynamoDB while it is active."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._pending: list[tuple[TableKeys, Image, Image | None, bool]] = []
        self._lock = threading.Lock()

    @contextmanager
    def active(self) -> Iterator[None]:
        with aws_requests.intercepted(self._before), aws_requests.recorded() as sent:
            yield
        self._finish()
        for request in sent.to("dynamodb"):
            self.effects += _read_effects(request)

    def _before(self, request: Request) -> None:
        with self._lock:  # a poll reads its queues in several threads
            self._finish()
        if request.service == "dynamodb":
            for name, key, in_transaction in _written(request):
                table = load_tables()[name]
                only_key = {each: key[each] for each in (table.hash_name, table.range_name) if each is not None}
                self._pending.append((table, only_key, find_item(name, table, only_key), in_transaction))

    def _finish(self) -> None:
        """Compare the items of the previous request, which has been sent by now."""
        names = {table.name: name for name, table in load_tables().items()}
        for table, key, old, in_transaction in self._pending:
            new = find_item(names[table.name], table, key)
            self.effects += write_effects(table, old, new, key, transaction=in_transaction)
        self._pending = []


def find_item(name: str, table: TableKeys, key: Image) -> Image | None:
    """A copy of a stored item of moto, in DynamoDB's JSON."""
    stored = dynamodb_backends[ACCOUNT][REGION].tables[name]
    for item in stored.all_items():
        attributes: Image = item.to_json()["Attributes"]
        if table.key_of(attributes) == table.key_of(key):
            return dict(attributes)
    return None


def _written(request: Request) -> Iterator[tuple[str, Image, bool]]:
    """The items that a request writes or checks: the name of the table, the key or more, and whether in a
    transaction."""
    params = request.params
    match request.operation:
        case "PutItem" | "UpdateItem" | "DeleteItem":
            yield params["TableName"], params.get("Key") or params["Item"], False
        case "TransactWriteItems":
            for item in params["TransactItems"]:
                ((_, part),) = item.items()
                yield part["TableName"], part.get("Key") or part["Item"], True
        case "BatchWriteItem":
            raise NotImplementedError("no store sends it")


def _read_effects(request: Request) -> Iterator[Effect]:
    """What a read does. Nothing for a write."""
    params, response = request.params, request.response
    match request.operation:
        case "GetItem":
            table = load_tables()[params["TableName"]]
            found = [response["Item"]] if "Item" in response else []
            yield _read(table, None, plain(params["Key"][table.hash_name]), found, params)
        case "BatchGetItem":
            for name, keys in params["RequestItems"].items():
                table = load_tables()[name]
                by_key = {table.key_of(item): item for item in response["Responses"].get(name, ())}
                for key in keys["Keys"]:
                    item = by_key.get(table.key_of(key))
                    found = [] if item is None else [item]
                    yield _read(table, None, plain(key[table.hash_name]), found, keys)
        case "Query":
            table = load_tables()[params["TableName"]]
            index = params.get("IndexName")
            hash_key = _queried_key(table if index is None else table.find_index(index), params)
            yield _read(table, index, hash_key, response["Items"], params)
        case "Scan" | "TransactGetItems":
            raise NotImplementedError("no store sends it")


def _read(table: TableKeys, index: str | None, hash_key: str, found: list[Image], params: Mapping[str, Any]) -> Effect:
    return read_effect(table, index, hash_key, found, consistent=bool(params.get("ConsistentRead")))


def _queried_key(queried: Any, params: Mapping[str, Any]) -> str:
    """The value of the partition key in a query's condition, which contains `#0 = :0`."""
    names, values = params["ExpressionAttributeNames"], params["ExpressionAttributeValues"]
    pairs = _EQUALS.findall(params["KeyConditionExpression"])
    (value,) = (values[value] for name, value in pairs if names[name] == queried.hash_name)
    return plain(value)


_EQUALS = re.compile(r"(#\w+) = (:\w+)")

# Placeholders.

Ids = dict[str, str]
"""The recorded ids by the names of their placeholders."""

SHARDS: dict[str, tuple[str, Callable[[Ids], int]]] = {
    "agents": ("{agent_shard}", lambda ids: agent_tables.shard(ids["owner"], ids["agent"])),
    "tasks": ("{task_shard}", lambda ids: dynamodb.shard(partition_key(ids["owner"], ids["task"]))),
    "webhooks": (
        "{delivery_shard}",
        lambda ids: webhook_tables.delivery_shard(ids["owner"], ids["webhook"], ids["delivery"]),
    ),
}
"""For each table: the placeholder of a shard in the keys of its indexes, and the function that computes the shard."""


def to_template(effects: list[Effect], ids: Ids) -> Template:
    """Replace the recorded ids by placeholders."""
    for effect in effects:
        if effect.table == "webhooks" and effect.item and effect.item[1].startswith(DELIVERY):
            ids = ids | {"delivery": effect.item[1].removeprefix(DELIVERY)}
    return tuple(_replace_ids(effect, ids) for effect in effects)


def _replace_ids(effect: Effect, ids: Ids) -> Effect:
    def insert_placeholders(text: str) -> str:
        for name, recorded_id in ids.items():
            text = text.replace(recorded_id, f"{{{name}}}")
        return _INSTANT.sub("{at}", text)

    hash_key = insert_placeholders(effect.hash_key)
    if effect.index is not None and hash_key.isdecimal() and effect.write:
        placeholder, compute_shard = SHARDS[effect.table]
        assert int(hash_key) == compute_shard(ids), f"{effect} is not in the shard that the model computes"
        hash_key = placeholder
    if effect.write and effect.hash_key in _keys_in_partition(effect.index, ids):
        hash_key = hash_key.removesuffix(partitions.suffix(ids["task"])) + PARTITION
    return replace(effect, hash_key=hash_key, item=effect.item and tuple(map(insert_placeholders, effect.item)))


def _keys_in_partition(index: str | None, ids: Ids) -> list[str]:
    """The keys of an index that depend on the task's partition, if there are several."""
    owner, task_id = ids["owner"], ids["task"]
    if settings.team_partitions == 1:
        return []
    if index == "by_status":
        return [partitions.status_key(owner, task_id, status) for status in OPEN_STATUSES]
    return [partitions.queue_key(owner, task_id, None)] if index == "queue" else []


_INSTANT = re.compile(r"\b\d{13}\b")
"""Epoch milliseconds."""


# The recorded calls.

Recorded = Callable[["Stage"], Call]
CALLS: dict[str, Recorded] = {}


def recorded(name: str) -> Callable[[Recorded], Recorded]:
    """Register a call. The decorated function prepares the call, and returns it."""

    def register(prepare: Recorded) -> Recorded:
        CALLS[name] = prepare
        return prepare

    return register


class Stage(NamedTuple):
    """The world of a recorded call: a user and an agent that already runs `running` other tasks."""

    world: World
    agent: Agent
    running: int
    ids: Ids

    @property
    def task(self) -> str:
        return self.ids["task"]

    def submit(self, **more: Any) -> None:
        assert self.world.submit(INTENT, taskId=self.task, **more).status < 300

    def queue(self) -> None:
        self.submit()
        self.world.poller.drain()

    def queue_by_message(self) -> None:
        """Like `queue`, but without the function that publishes events."""
        self.submit()
        self.world.handle_batch("run_workflows", self.world.messages("workflow"))()

    def claim(self) -> None:
        self.queue()
        assert self.agent.claims() == [self.task]

    def start(self) -> None:
        self.claim()
        assert self.agent.progress(self.task).status == 200

    def end(self) -> None:
        self.start()
        assert self.agent.complete(self.task).status == 200

    def publish_after(self, prepare: Callable[[], Any]) -> Call:
        """A call that publishes the last event of `prepare`."""
        prepare()
        messages = self.world.messages("events")
        return self.world.handle_batch("announce_events", messages[-1:])


@recorded("register")
def _register(stage: Stage) -> Call:
    """The registration of another agent: a repeated one would also end the tasks of this one."""
    stage.ids["agent"] = "new-agent"
    body = {"agentId": "new-agent", "name": AGENT, "version": "0.2.0", "capabilities": [INTENT]}
    return lambda: stage.world.user.post("/api/agents", body)


@recorded("heartbeat")
def _heartbeat(stage: Stage) -> Call:
    stage.claim()
    stage.agent.progress(stage.task)
    return lambda: stage.agent.heartbeat(status="busy", taskIds=[stage.task, *_others(stage.running)])


@recorded("idle poll")
def _idle_poll(stage: Stage) -> Call:
    stage.agent.poll()
    return stage.agent.poll


@recorded("idle poll that moves")
def _idle_poll_that_moves(stage: Stage) -> Call:
    """The first poll after the agent's next check has moved by a minute."""
    stage.agent.poll()
    stage.world.clock.advance(60)
    return stage.agent.poll


@recorded("poll that claims")
def _claiming_poll(stage: Stage) -> Call:
    stage.queue()
    return stage.agent.poll


@recorded("poll that claims, long queue")
def _claiming_poll_of_a_long_queue(stage: Stage) -> Call:
    """The queue has more tasks than one query of a poll reads. This one has the highest priority."""
    stage.world.long_queue(INTENT)
    stage.submit(priority=MAX_PRIORITY)
    stage.world.poller.drain()
    return lambda: stage.agent.poll(limit=1)


@recorded("submit")
def _submit(stage: Stage) -> Call:
    return lambda: stage.world.submit(INTENT, taskId=stage.task)


@recorded("submitted message")
def _submitted_message(stage: Stage) -> Call:
    stage.submit()
    return stage.world.handle_batch("run_workflows", stage.world.messages("workflow"))


@recorded("first progress")
def _first_progress(stage: Stage) -> Call:
    stage.claim()
    return lambda: stage.agent.progress(stage.task)


@recorded("progress")
def _progress(stage: Stage) -> Call:
    stage.start()
    return lambda: stage.agent.progress(stage.task, progress=0.7)


@recorded("progress, new step")
def _progress_with_a_new_step(stage: Stage) -> Call:
    stage.start()
    return lambda: stage.agent.progress(stage.task, "Opening the pull request")


@recorded("log chunk")
def _log_chunk(stage: Stage) -> Call:
    stage.start()
    chunk = {"offset": 0, "data": "x" * LOG_BYTES}
    return lambda: stage.agent.client.post(f"/api/tasks/{stage.task}/logs", chunk)


@recorded("complete")
def _complete(stage: Stage) -> Call:
    stage.start()
    return lambda: stage.agent.complete(stage.task)


@recorded("event, created")
def _created_event(stage: Stage) -> Call:
    return stage.publish_after(stage.queue_by_message)


@recorded("event, started")
def _started_event(stage: Stage) -> Call:
    return stage.publish_after(stage.start)


@recorded("event, completed")
def _completed_event(stage: Stage) -> Call:
    return stage.publish_after(stage.end)


@recorded("event, created, one webhook")
def _created_event_with_a_webhook(stage: Stage) -> Call:
    _create_webhook(stage)
    return _created_event(stage)


@recorded("event, started, one webhook")
def _started_event_with_a_webhook(stage: Stage) -> Call:
    _create_webhook(stage)
    return _started_event(stage)


@recorded("event, completed, one webhook")
def _completed_event_with_a_webhook(stage: Stage) -> Call:
    _create_webhook(stage)
    return _completed_event(stage)


@recorded("delivery")
def _delivery(stage: Stage) -> Call:
    _create_webhook(stage)
    stage.publish_after(stage.queue_by_message)()
    return stage.world.handle_batch("deliver_webhooks", stage.world.messages("webhooks"))


@recorded("sweep")
def _sweep(stage: Stage) -> Call:
    stage.world.poller.sweep()
    return stage.world.poller.sweep


def _create_webhook(stage: Stage) -> None:
    receiver = stage.world.cleanup.enter_context(Receiver())
    stage.ids["webhook"] = create_webhook(stage.world.user, receiver.url).id


def _others(number: int) -> list[str]:
    return [f"other-task-{each}" for each in range(number)]


class Recorder:
    """Records calls in one world, in which an agent runs `running` tasks. Each call begins with the same rows."""

    def __init__(self, world: World, running: int) -> None:
        self.world, self.running = world, running
        self.agent = world.agent(INTENT, name=AGENT)
        self._warm_up()
        for task_id in _others(running):
            world.submit(INTENT, taskId=task_id)
            world.poller.drain()
            assert self.agent.claims() == [task_id]
            assert self.agent.progress(task_id).status == 200
        world.poller.drain()
        self._rows, self._shifted_ms = moto_aws.Snapshot(), clock._shifted_ms

    def _warm_up(self) -> None:
        """Submit and cancel a few tasks, so that rows exist which the first task of a day creates. A counter may have
        several of them. The tasks are removed again, because moto is slow with many rows."""
        for number in range(MANY_TASKS):
            task_id = f"{WARM_UP}-{number}"
            assert self.world.submit(INTENT, taskId=task_id).status < 300
            assert self.world.user.post(f"/api/tasks/{task_id}/cancel").status < 300
        self.world.poller.drain()
        for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
            for hash_key in [each for each in table.items if WARM_UP in str(each.value)]:
                del table.items[hash_key]
        self.world.clock.advance(1)  # so that the recorded calls do not happen in the same millisecond

    def restore(self) -> None:
        """Restore the rows and the clock with which each call begins."""
        self._rows.restore()
        clock._shifted_ms = self._shifted_ms

    def record(
        self, name: str, task: str = TASK, before_call: Callable[[], None] = lambda: None
    ) -> tuple[list[Effect], Ids]:
        """The effects of one call, and the ids that it used. `before_call` is called when the call is prepared."""
        self.restore()
        ids = {"owner": self.world.owner, "agent": AGENT, "task": task, "intent": INTENT}
        with ExitStack() as self.world.cleanup:
            call = CALLS[name](Stage(self.world, self.agent, self.running, ids))
            before_call()
            journal = Journal()
            with journal.active():
                response = call()
        assert getattr(response, "status", 200) < 300, response
        return journal.effects, ids

    def record_variants(self, name: str) -> list[Template]:
        """The different templates of a call. A few tasks show whether they differ, and many show all of them."""
        found: dict[frozenset[tuple[Effect, int]], Template] = {}
        for number in range(MANY_TASKS):
            template = to_template(*self.record(name, f"{TASK}-{number}"))
            found.setdefault(frozenset(Counter(template).items()), template)  # threads send in any order
            if number + 1 == FEW_TASKS and len(found) == 1:
                break
        return list(found.values())

    def record_all(self, shards: Iterable[int]) -> "dict[int, Templates]":
        found: dict[int, Templates] = {}
        common = {name: self.record_variants(name) for name in CALLS if name != "sweep"}
        for number in shards:
            with use_shards(number, settings.team_partitions):
                found[number] = common | {"sweep": self.record_variants("sweep")}
        return found


FEW_TASKS, MANY_TASKS = 3, 48
WARM_UP = "warm-up-task"


@contextmanager
def open_recorder(shards: int, running: int = 0, team_partitions: int = 1) -> Iterator[Recorder]:
    """Deploy a stage with these numbers of shards and team partitions on moto, and prepare a world in it."""
    from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

    with pytest.MonkeyPatch.context() as patch, quiet.capture_log(), use_shards(shards, team_partitions):
        patch.setitem(auth_rules._SCRYPT, "n", 2**4)
        patch.setattr(clock, "_shifted_ms", 0)
        patch.setattr(clock, "time", SimpleNamespace(time=lambda: START / SECOND))
        moto_aws.empty()
        yield Recorder(make_world(make_user(Gateway(app)), EventPoller(app), Clock()), running)


Templates = dict[str, list[Template]]
"""The templates of each call. A call has several if they differ by task: for example, a counter in several rows."""


def record(shards: Iterable[int], running: int = 0, team_partitions: int = 1) -> dict[int, Templates]:
    """The templates of all calls, for each of these numbers of shards. Only those of the sweep differ."""
    with quiet.capture_log(), moto_aws.deployed(), open_recorder(min(shards), running, team_partitions) as recorder:
        return recorder.record_all(shards)


@contextmanager
def use_shards(shards: int, team_partitions: int = 1) -> Iterator[None]:
    """Change the stage's numbers of shards and team partitions during the block."""
    changed = {"shards": shards, "team_partitions": team_partitions}
    before = {name: getattr(settings, name) for name in changed}
    for name, value in changed.items():
        object.__setattr__(settings, name, value)  # the settings are frozen
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(settings, name, value)
