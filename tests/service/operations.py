"""Operations for tests of idempotency and fault injection, each with its preparation and its expected final state.

An operation is a request that carries an id, key, attempt or offset, the handling of a message, or a scheduled run.
`OperationHarness` creates a fresh context for an operation as often as a test needs one.
"""

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

from moto.dynamodb.models import dynamodb_backends

from chalicelib.aws import sqs
from chalicelib.core import clock as server_clock
from chalicelib.core.errors import Unavailable
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.http.scenario import Agent, Scenario
from tests.service import faults, invariants
from tests.support import aws_requests, moto_aws
from tests.support.client import Client
from tests.support.container import new_container
from tests.support.handlers import Handlers
from tests.support.users import make_user

State = dict[str, Any]


class OperationContext(NamedTuple):
    """A platform that contains only user@example.com and agent-1."""

    scenario: Scenario
    agent: Agent
    ids: dict[str, str]
    """What the first run of an operation has chosen, so that a repetition names the same."""


@dataclass(frozen=True)
class Operation:
    """A request, message or scheduled run, with its preparation and its effect."""

    prepare: Callable[[OperationContext], object]
    run: Callable[[OperationContext], Response]
    read_state: Callable[[], State]
    expected_state: State
    repeat_statuses: tuple[int, ...] = ()
    """Statuses besides 2xx that the same request may get when it is sent again."""

    def assert_effect(self, context: OperationContext) -> None:
        """Assert that the operation has had its complete effect exactly once."""
        context.scenario.poller.drain()
        invariants.check()
        assert self.read_state() == self.expected_state


def no_preparation(context: OperationContext) -> None:
    """The operation needs only a fresh context."""


def task_state() -> State:
    """The stored status, attempt and timeline of the only task."""
    (head,) = invariants.heads()
    events = sorted((row for row in invariants.rows("tasks") if row["sk"].startswith("E#")), key=lambda row: row["sk"])
    types = [row["type"].removeprefix("task.") for row in events]
    return {"status": head["status"], "attempt": head["attempt"], "events": types}


def task_statuses() -> State:
    return {"tasks": sorted(head["status"] for head in invariants.heads())}


def agent_names() -> State:
    return {"agents": {row["agent"]: row["name"] for row in invariants.rows("agents")}}


def log_chunks() -> State:
    return {"log": [row["text"] for row in invariants.rows("tasks") if row["sk"].startswith("L#")]}


def set_rules(context: OperationContext) -> Response:
    """Let agent-1 claim only tasks of one host."""
    return context.scenario.user.patch("/api/agents/agent-1", {"repos": ["https://example.com/*"]})


SUBMISSION = {"taskId": "task-1", "intent": "fix-bug", "repo": "r", "naturalLanguage": "Do it"}
SUBMISSION_WITHOUT_ID = {name: value for name, value in SUBMISSION.items() if name != "taskId"}
FULL_TIMELINE = ["created", "queued", "assigned", "started"]

OPERATIONS = {
    "submit": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.post("/api/workflows/execute", SUBMISSION),
        task_state,
        {"status": "queued", "attempt": 1, "events": FULL_TIMELINE[:2]},
    ),
    "submit with a key": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.post("/api/tasks", SUBMISSION_WITHOUT_ID, Idempotency_Key="key-1"),
        task_statuses,
        {"tasks": ["queued"]},
    ),
    "register": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.post(
            "/api/agents", {"agentId": "agent-2", "name": "n", "version": "1"}, Idempotency_Key="key-1"
        ),
        agent_names,
        {"agents": {"agent-1": "agent-1", "agent-2": "n"}},
    ),
    "register again": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.scenario.user.post(
            "/api/agents",
            {"agentId": "agent-1", "name": "n", "version": "1", "replace": True},
            Idempotency_Key="key-1",
        ),
        task_state,
        {"status": "queued", "attempt": 2, "events": [*FULL_TIMELINE, "requeued"]},
    ),
    "remove": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.scenario.user.delete("/api/agents/agent-1"),
        lambda: task_state() | agent_names(),
        {"status": "queued", "attempt": 2, "events": [*FULL_TIMELINE, "requeued"], "agents": {}},
        repeat_statuses=(404,),
    ),
    "poll": Operation(
        lambda ctx: ctx.scenario.queue_tasks(),
        lambda ctx: ctx.agent.poll(),
        task_state,
        {"status": "assigned", "attempt": 1, "events": FULL_TIMELINE[:3]},
    ),
    "poll of an agent with rules": Operation(
        lambda ctx: (set_rules(ctx), ctx.scenario.queue_tasks()),
        lambda ctx: ctx.agent.poll(),
        task_state,
        {"status": "assigned", "attempt": 1, "events": FULL_TIMELINE[:3]},
    ),
    "submit to an agent with rules": Operation(
        # The first submission of a user counts the user's tasks, with many requests.
        lambda ctx: (set_rules(ctx), ctx.scenario.queue_tasks("task-0")),
        lambda ctx: ctx.scenario.user.post(
            "/api/workflows/execute", SUBMISSION | {"agentId": "agent-1", "repo": "https://example.com/r"}
        ),
        task_statuses,
        {"tasks": ["queued", "queued"]},
    ),
    "first progress": Operation(
        lambda ctx: ctx.scenario.claim_task(ctx.agent),
        lambda ctx: ctx.agent.progress("task-1", 0.3, step="Cloning", attempt=1),
        task_state,
        {"status": "in_progress", "attempt": 1, "events": FULL_TIMELINE},
    ),
    "a new step": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.agent.progress("task-1", 0.3, step="Cloning", attempt=1),
        task_state,
        {"status": "in_progress", "attempt": 1, "events": [*FULL_TIMELINE, "step"]},
    ),
    "complete": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.agent.complete("task-1", summary="Fixed"),
        task_state,
        {"status": "completed", "attempt": 1, "events": [*FULL_TIMELINE, "completed"]},
    ),
    "complete a claim": Operation(
        lambda ctx: ctx.scenario.claim_task(ctx.agent),
        lambda ctx: ctx.agent.complete("task-1", summary="Fixed"),
        task_state,
        {"status": "completed", "attempt": 1, "events": [*FULL_TIMELINE[:3], "completed"]},
    ),
    "fail": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.agent.fail("task-1", "It broke", logs="line 1\nline 2\n"),
        lambda: task_state() | log_chunks(),
        {"status": "failed", "attempt": 1, "events": [*FULL_TIMELINE, "failed"], "log": ["line 1\nline 2\n"]},
    ),
    "log": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.agent.client.post("/api/tasks/task-1/logs", {"offset": 0, "data": "line 1\n"}),
        log_chunks,
        {"log": ["line 1\n"]},
    ),
    "cancel a claim": Operation(
        lambda ctx: ctx.scenario.claim_task(ctx.agent),
        lambda ctx: ctx.scenario.user.post("/api/tasks/task-1/cancel"),
        task_state,
        {"status": "cancelled", "attempt": 1, "events": [*FULL_TIMELINE[:3], "cancelled"]},
    ),
    "cancel a run": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.scenario.user.post("/api/tasks/task-1/cancel"),
        task_state,
        {"status": "in_progress", "attempt": 1, "events": [*FULL_TIMELINE, "cancel_requested"]},
    ),
    "retry": Operation(
        lambda ctx: ctx.agent.fail(ctx.scenario.start_task(ctx.agent)),
        lambda ctx: ctx.scenario.user.post("/api/tasks/task-1/retry"),
        task_statuses,
        {"tasks": ["failed", "queued"]},
    ),
    "heartbeat": Operation(
        lambda ctx: ctx.scenario.start_task(ctx.agent),
        lambda ctx: ctx.agent.heartbeat(status="ready", taskIds=["task-1"], instanceId="process-1"),
        task_state,
        {"status": "in_progress", "attempt": 1, "events": FULL_TIMELINE},
    ),
    "disconnect": Operation(
        lambda ctx: ctx.scenario.claim_task(ctx.agent),
        lambda ctx: ctx.agent.heartbeat(status="disconnected"),
        task_state,
        {"status": "queued", "attempt": 1, "events": [*FULL_TIMELINE[:3], "requeued"]},
    ),
    "rename": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.patch("/api/agents/agent-1", {"name": "renamed"}),
        agent_names,
        {"agents": {"agent-1": "renamed"}},
    ),
}


def handle_message(context: OperationContext, handler: str, about: str = "") -> Response:
    """Handle the first message of a queue that contains this text. 503 if the message will be delivered again."""
    (body, *_) = [json.loads(text) for text in moto_aws.messages(QUEUES[handler]) if about in text]
    return Response(503 if Handlers(context.scenario.poller._app).batch(handler, body) else 200)


def sweep(context: OperationContext, left: int = 60_000) -> Response:
    """Run the scheduled handler. 503 if it raises an error, so that AWS counts the run as failed.

    `left`: the remaining milliseconds of the invocation.
    """
    try:
        Handlers(context.scenario.poller._app).sweep(lambda: left)
    except Unavailable:
        return Response(503)
    return Response(200)


def pass_minutes(context: OperationContext, minutes: int, *alive: Agent) -> int:
    """Let minutes pass, with a sweep every minute except the last, and heartbeats of the agents `alive`.

    Returns the number of minutes.
    """
    for left in reversed(range(minutes)):
        server_clock.shift(60)
        for agent in alive:
            agent.heartbeat()
        if left:
            sweep(context)
    return minutes


def lose_messages() -> bool:
    moto_aws.empty_queues()
    return True


def publish_state() -> State:
    """The number of open tasks that are counted, and the number of events that are not published yet."""
    (used,) = invariants.usage().values()
    unsent = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    return {"open": used["open"], "unsent": len(unsent)}


def _cancel_running_task(context: OperationContext) -> None:
    context.scenario.start_task(context.agent)
    context.scenario.user.post("/api/tasks/task-1/cancel")
    pass_minutes(context, 2, context.agent)


def _expire_claim_in_backlog(context: OperationContext) -> None:
    """A claim has expired, and the sweep has handed out the deadlines of tasks."""
    context.scenario.claim_task(context.agent)
    pass_minutes(context, 2, context.agent)
    sqs.send("sweep", {"kind": "tasks", "shard": 0, "until": server_clock.now() + 3_600_000})


QUEUES = {
    "run_workflows": "workflow",
    "announce_events": "events",
    "deliver_webhooks": "webhooks",
    "sweep_backlog": "sweep",
}


EVENT_OPERATIONS = {
    "a message of the workflow queue": Operation(
        lambda ctx: ctx.scenario.submit(),
        lambda ctx: handle_message(ctx, "run_workflows"),
        task_state,
        {"status": "queued", "attempt": 1, "events": FULL_TIMELINE[:2]},
    ),
    "a message of the queue of events": Operation(
        lambda ctx: ctx.scenario.queue_tasks(),
        lambda ctx: handle_message(ctx, "announce_events", "task-1"),
        lambda: task_state() | publish_state(),
        {"status": "queued", "attempt": 1, "events": FULL_TIMELINE[:2], "open": 1, "unsent": 0},
    ),
    "a sweep that finds a lost message": Operation(
        lambda ctx: (ctx.scenario.submit(), lose_messages(), pass_minutes(ctx, 2)),
        sweep,
        task_state,
        {"status": "queued", "attempt": 1, "events": FULL_TIMELINE[:2]},
    ),
    "a sweep that finds an unpublished event": Operation(
        lambda ctx: (ctx.scenario.queue_tasks(), lose_messages(), pass_minutes(ctx, 4)),
        sweep,
        lambda: task_state() | publish_state(),
        {"status": "queued", "attempt": 1, "events": FULL_TIMELINE[:2], "open": 1, "unsent": 0},
    ),
    "a sweep that hands out an expired claim": Operation(
        lambda ctx: (ctx.scenario.claim_task(ctx.agent), pass_minutes(ctx, 2, ctx.agent)),
        lambda ctx: sweep(ctx, left=5_000),
        task_state,
        {"status": "queued", "attempt": 1, "events": [*FULL_TIMELINE[:3], "requeued"]},
    ),
    "a message of the sweep's queue": Operation(
        _expire_claim_in_backlog,
        lambda ctx: handle_message(ctx, "sweep_backlog"),
        task_state,
        {"status": "queued", "attempt": 1, "events": [*FULL_TIMELINE[:3], "requeued"]},
    ),
    "a sweep that finds an expired claim": Operation(
        lambda ctx: (ctx.scenario.claim_task(ctx.agent), pass_minutes(ctx, 2, ctx.agent)),
        sweep,
        task_state,
        {"status": "queued", "attempt": 1, "events": [*FULL_TIMELINE[:3], "requeued"]},
    ),
    "a sweep that finds a silent agent": Operation(
        lambda ctx: (ctx.scenario.start_task(ctx.agent), pass_minutes(ctx, 4)),
        sweep,
        lambda: task_state() | {"agents": [row["state"] for row in invariants.rows("agents")]},
        {"status": "in_progress", "attempt": 1, "events": FULL_TIMELINE, "agents": ["inactive"]},
    ),
    "a sweep that finds a lost agent": Operation(
        lambda ctx: (ctx.scenario.start_task(ctx.agent), pass_minutes(ctx, 11)),
        sweep,
        task_state,
        {"status": "queued", "attempt": 2, "events": [*FULL_TIMELINE, "requeued"]},
    ),
    "a sweep that finds a timed out task": Operation(
        lambda ctx: (
            ctx.scenario.start_task(ctx.agent, timeoutSeconds=60),
            pass_minutes(ctx, 2, ctx.agent),
        ),
        sweep,
        task_state,
        {"status": "failed", "attempt": 1, "events": [*FULL_TIMELINE, "failed"]},
    ),
    "a sweep that finds an expired cancel request": Operation(
        _cancel_running_task,
        sweep,
        task_state,
        {"status": "cancelled", "attempt": 1, "events": [*FULL_TIMELINE, "cancel_requested", "cancelled"]},
    ),
}
"""Operations that no client requests: messages, and scheduled runs that find something to do."""


@dataclass(frozen=True)
class Prepared:
    """Everything that is needed to create the context of an operation again."""

    tables: Mapping[str, Any]
    user: str | None
    """The user's token."""

    agent: str | None
    """The agent's token."""

    at: int
    """The platform's clock, in epoch milliseconds."""

    requests: list[str]
    """The AWS requests of the operation, in order."""

    messages: Mapping[str, list[str]]
    """The bodies of the waiting messages, by queue."""


_prepared: dict[int, Prepared] = {}
"""By the `id` of the operation. Preparing a context takes many requests; restoring stored rows takes none."""


class OperationHarness:
    """Creates contexts for operations."""

    def __init__(self, user: Client, poller: EventPoller) -> None:
        self._user, self._poller = user, poller

    def requests(self, operation: Operation) -> list[str]:
        """The AWS requests of an operation, in order."""
        return self._prepared(operation).requests

    def writes(self, operation: Operation) -> list[str]:
        """The AWS requests of an operation that write something, in order."""
        return [request for request in self.requests(operation) if request in faults.WRITES]

    def new_context(self, operation: Operation) -> OperationContext:
        """Restore the rows, messages and clock of the prepared context."""
        prepared = self._prepared(operation)
        new_container()
        moto_aws.empty()
        for name, items in prepared.tables.items():
            _tables()[name].items = deepcopy(items)
        for name, bodies in prepared.messages.items():
            for body in bodies:
                sqs.send(name, json.loads(body))
        server_clock._shifted_ms = prepared.at - int(time.time() * 1_000)
        scenario = Scenario(self._user.acting_as(prepared.user), self._poller)
        return OperationContext(scenario, Agent("agent-1", scenario.user.acting_as(prepared.agent)), {})

    def _prepared(self, operation: Operation) -> Prepared:
        if id(operation) not in _prepared:
            moto_aws.empty()
            _prepared[id(operation)] = self._prepare(operation)
        return _prepared[id(operation)]

    def _prepare(self, operation: Operation) -> Prepared:
        scenario = Scenario(make_user(self._user.transport), self._poller)
        agent = scenario.agent()
        scenario.poller.drain()  # publish the events of the registration
        operation.prepare(OperationContext(scenario, agent, {}))
        tables = {name: deepcopy(table.items) for name, table in _tables().items()}
        messages = {name: moto_aws.messages(name) for name in QUEUES.values()}
        at = server_clock.now()
        with aws_requests.recorded() as sent:
            operation.run(OperationContext(scenario, agent, {}))
        requests = [request.operation for request in sent]
        return Prepared(tables, scenario.user.token, agent.client.token, at, requests, messages)


def _tables() -> Any:
    return dynamodb_backends[ACCOUNT][REGION].tables
