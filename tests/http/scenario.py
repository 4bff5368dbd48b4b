"""Helpers for the tests of the HTTP contract: agents, users with their tasks, and assertions about responses."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.endpoint
import jwt
import pytest

from chalicelib.auth import sessions
from chalicelib.auth import store as auth_store
from chalicelib.auth.entities import LoginOrigin
from chalicelib.core import clock
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.service import invariants
from tests.support import moto_aws, template
from tests.support.client import Client

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TRACE = (b"Traceback", b'File "', b"chalicelib", b"pydantic", b"site-packages", b"Error(")


@dataclass(frozen=True)
class Agent:
    """A client of a registered agent. It uses the agent's token, or its user's token (see `with_user_token`)."""

    id: str
    client: Client

    def with_user_token(self, user: Client) -> "Agent":
        return Agent(self.id, user)

    def poll(self, **query: Any) -> Response:
        return self.client.get(f"/api/agents/{self.id}/commands", query)

    def commands(self, **query: Any) -> list[dict[str, Any]]:
        """Poll successfully, and return the commands of the response."""
        commands: list[dict[str, Any]] = ok(self.poll(**query))["commands"]
        return commands

    def claims(self, **query: Any) -> list[str]:
        """Poll successfully, and return the task ids of the response in their order."""
        return [command["task_id"] for command in self.commands(**query)]

    def heartbeat(self, **fields: Any) -> Response:
        return self.client.post(f"/api/agents/{self.id}/heartbeat", fields)

    def progress(self, task_id: str, progress: float = 0.5, **report: Any) -> Response:
        return self.client.post(f"/api/tasks/{task_id}/progress", {"progress": progress} | report)

    def complete(self, task_id: str, *, success: bool = True, **report: Any) -> Response:
        return self.client.post(f"/api/tasks/{task_id}/complete", {"success": success} | report)

    def fail(self, task_id: str, error: str = "It broke", **report: Any) -> Response:
        return self.client.post(f"/api/tasks/{task_id}/fail", {"error": error} | report)


class Scenario:
    """One user with agents and tasks. Each method creates or reads one state through the API."""

    def __init__(self, user: Client, poller: EventPoller) -> None:
        self.user, self.poller = user, poller
        self._workflow = copy(poller)
        self._workflow._queues = [queue for queue in poller._queues if queue.handler == "run_workflows"]

    def agent(self, agent_id: str = "agent-1", **registration: Any) -> Agent:
        """Register an agent, and return its client with its own token."""
        body = {"agentId": agent_id, "name": agent_id, "version": "1"} | registration
        token = ok(self.user.post("/api/agents", body), 201)["token"]
        return Agent(agent_id, self.user.acting_as(token))

    def submit(self, task_id: str = "task-1", **work: Any) -> str:
        """Submit a task, and leave its message in the queue."""
        body = {
            "taskId": task_id,
            "intent": "fix-bug",
            "repo": "https://example.com/r",
            "naturalLanguage": "Do it",
        } | work
        ok(self.user.post("/api/workflows/execute", body), 202)
        return task_id

    def queue_tasks(self, *task_ids: str, **work: Any) -> str:
        """Submit tasks in this order and make them claimable. Without ids it submits task-1. Returns the last id."""
        for task_id in task_ids or ("task-1",):
            self.submit(task_id, **work)
        self.run_workflows()
        return (task_ids or ("task-1",))[-1]

    def run_workflows(self) -> None:
        """Handle the messages of the workflow queue. Messages of the other queues stay in their queues."""
        self._workflow.drain()

    def claim_task(self, agent: Agent, task_id: str = "task-1", **work: Any) -> str:
        """Submit a task that this agent claims. Returns its id."""
        self.queue_tasks(task_id, **work)
        assert task_id in agent.claims()
        return task_id

    def start_task(self, agent: Agent, task_id: str = "task-1", **work: Any) -> str:
        """Submit a task that this agent claims and starts. Returns its id."""
        self.claim_task(agent, task_id, **work)
        ok(agent.progress(task_id, 0.1))
        return task_id

    def get_task(self, task_id: str = "task-1") -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(f"/api/tasks/{task_id}"))
        return found

    def task_status(self, task_id: str = "task-1") -> str:
        return str(self.get_task(task_id)["status"])

    def get_agent(self, agent_id: str = "agent-1") -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(f"/api/agents/{agent_id}"))
        return found

    def user_id(self) -> str:
        """The id of the user."""
        return str(jwt.decode(self.user.token or "", options={"verify_signature": False})["own"])

    def log_in_again(self) -> Client:
        """A client of the same user with a new token. Needed when a test outlives the first token."""
        owner = self.user_id()
        user = auth_store.load_user(owner)
        assert user is not None
        return self.user.acting_as(sessions.start_session(user, LoginOrigin("192.0.2.1", "test"), clock.now()).token)

    def copy_task(self, task_id: str, new_ids: Sequence[str], *, age: int = 1, keys_only: bool = False) -> None:
        """Store copies of a task without its events, because a thousand submissions would take minutes.

        The first copy is `age` seconds newer than the task, and each further copy is a second newer than the one
        before. `keys_only` stores only the attributes of the keys, which is enough for a list to count the copies.
        """
        (head,) = [row for row in moto_aws.rows("tasks") if row.get("task") == {"S": task_id}]
        created = int(head["createdAt"]["N"])
        rows = [row for row in moto_aws.rows("tasks") if row["pk"] == head["pk"] and "type" not in row]
        if keys_only:
            (table,) = [
                each for each in template.create_table_requests("local") if each["TableName"].endswith("-tasks")
            ]
            keys = {attribute["AttributeName"] for attribute in table["AttributeDefinitions"]}
            rows = [{name: value for name, value in head.items() if name in keys}]
        text = json.dumps(rows)
        copies: list[Any] = []
        for seconds, new_id in enumerate(new_ids, age):
            copies += json.loads(text.replace(task_id, new_id).replace(str(created), str(created + 1_000 * seconds)))
        client = boto3.client("dynamodb")
        for start in range(0, len(copies), 25):
            puts: list[Any] = [{"PutRequest": {"Item": copy}} for copy in copies[start : start + 25]]
            client.batch_write_item(RequestItems={"devflow-local-tasks": puts})

    def advance(self, clock: Clock, seconds: int, *active: Agent) -> None:
        """Advance the clock, and run the sweep and the workflow queue. The agents in `active` send heartbeats.

        The steps are shorter than the gap between sweeps that the platform treats as its own outage.
        """
        while seconds > 0:
            step = min(seconds, 170)
            clock.advance(step)
            seconds -= step
            for agent in active:
                ok(agent.heartbeat())
            self.poller.sweep()
            self.run_workflows()

    def event_types(self, task_id: str = "task-1") -> list[str]:
        """The types of the events of a task, oldest first, without the prefix `task.`."""
        page = ok(self.user.get(f"/api/tasks/{task_id}/events", {"limit": 100}))
        return [event["type"].removeprefix("task.") for event in page["data"]]


def ok(response: Response, status: int = 200) -> Any:
    """Assert that a response has this status, and return its parsed body."""
    assert response.status == status, response
    return response.json()


def refused(response: Response, status: int, title: str | None = None) -> dict[str, Any]:
    """Assert that a response is an error of the contract, and return its parsed body.

    It must have exactly the fields of the contract with their types, and no trace of the implementation.
    """
    assert response.status == status, response
    assert response.header("Content-Type") == "application/json", response.headers
    body: dict[str, Any] = response.json()
    assert type(body) is dict
    assert set(body) - {"details"} == {"error", "message", "statusCode", "timestamp"}, body
    assert type(body["error"]) is str
    assert body["error"]
    assert type(body["message"]) is str
    assert body["message"]
    assert type(body["statusCode"]) is int
    assert body["statusCode"] == status
    assert INSTANT.fullmatch(body["timestamp"]), body
    assert abs(epoch(body["timestamp"]) - clock.now() / 1_000) < 10
    if "details" in body:
        assert body["details"]
        assert all(type(detail) is str for detail in body["details"])
    assert not [trace for trace in TRACE if trace in response.body], response.body
    assert title in (None, body["error"]), body
    return body


def epoch(instant: str) -> float:
    """Convert a timestamp of the API to epoch seconds."""
    return datetime.strptime(instant, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


_CHECK_IN_FIELDS = {"calls", "usedAt", "seenAt", "checkAt", "checkShard", "state", "news", "newsAt", "newsShard"}


def snapshot() -> Mapping[str, Any]:
    """All stored rows and queued messages, without what every call may write: its counts and the check-in.

    The rows that count usage are represented by their sums.
    """
    stored = {
        table: sorted(
            repr(sorted((name, value) for name, value in row.items() if name not in _CHECK_IN_FIELDS))
            for row in moto_aws.rows(table)
            if row.get("sk") != {"S": "U"}
        )
        for table in ("users", "credentials", "agents", "tasks", "webhooks")
    }
    logins = sorted(repr(sorted(row.items())) for row in moto_aws.rows("logins") if "owner" in row)
    queues = {queue: sorted(moto_aws.messages(queue)) for queue in ("workflow", "events", "webhooks", "sweep")}
    queues["events"] = [message for message in queues["events"] if "task" in message]
    used = {owner: counts for owner, counts in invariants.usage().items() if any(counts.values())}
    return stored | queues | {"logins": logins, "used": used}


@contextmanager
def failing(operation: str, error: Exception, *, about: str = "") -> Iterator[None]:
    """Fail one AWS operation, if its request contains `about`.

    The error is raised in botocore's endpoint, so all code of the platform runs.
    """
    real: Callable[..., Any] = botocore.endpoint.Endpoint.make_request

    def make_request(endpoint: Any, model: Any, request: Any) -> Any:
        if model.name == operation and about in str(request["body"]):
            raise error
        return real(endpoint, model, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.Endpoint.make_request", make_request)
        yield
