"""What the tests of the HTTP contract do over and over, in the words of the contract."""

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

from chalicelib.auth import store as auth_store
from chalicelib.auth import tokens
from chalicelib.core import clock
from infra.local.event_poller import EventPoller
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.support import moto_aws, template
from tests.support.client import Client

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TRACE = (b"Traceback", b'File "', b"chalicelib", b"pydantic", b"site-packages", b"Error(")


@dataclass(frozen=True)
class Agent:
    """A registered agent that acts with its own token (or with its user's, see `by_its_user`)."""

    id: str
    client: Client

    def by_its_user(self, user: Client) -> "Agent":
        return Agent(self.id, user)

    def poll(self, **query: Any) -> Response:
        return self.client.get(f"/api/agents/{self.id}/commands", query)

    def commands(self, **query: Any) -> list[dict[str, Any]]:
        """What a poll that succeeds hands out."""
        commands: list[dict[str, Any]] = ok(self.poll(**query))["commands"]
        return commands

    def claims(self, **query: Any) -> list[str]:
        """The ids of what a poll hands out, in its order."""
        return [command["task_id"] for command in self.commands(**query)]

    def beat(self, **said: Any) -> Response:
        return self.client.post(f"/api/agents/{self.id}/heartbeat", said)

    def progress(self, task: str, progress: float = 0.5, **news: Any) -> Response:
        return self.client.post(f"/api/tasks/{task}/progress", {"progress": progress} | news)

    def complete(self, task: str, *, success: bool = True, **report: Any) -> Response:
        return self.client.post(f"/api/tasks/{task}/complete", {"success": success} | report)

    def fail(self, task: str, error: str = "It broke", **report: Any) -> Response:
        return self.client.post(f"/api/tasks/{task}/fail", {"error": error} | report)


class Scene:
    """One user, whose agents and tasks are made and looked at in a line each."""

    def __init__(self, user: Client, poller: EventPoller) -> None:
        self.user, self.poller = user, poller
        self._workflow = copy(poller)
        self._workflow._queues = [queue for queue in poller._queues if queue.handler == "run_workflows"]

    def agent(self, agent: str = "agent-1", **registration: Any) -> Agent:
        """Register an agent, which acts with its own token from then on."""
        body = {"agentId": agent, "name": agent, "version": "1"} | registration
        token = ok(self.user.post("/api/agents", body), 201)["token"]
        return Agent(agent, self.user.acting_as(token))

    def submit(self, task: str = "task-1", **work: Any) -> str:
        """Submit a task and leave its message in the queue."""
        body = {"taskId": task, "intent": "fix-bug", "repo": "https://example.com/r", "naturalLanguage": "Do it"} | work
        ok(self.user.post("/api/workflows/execute", body), 202)
        return task

    def queued(self, *tasks: str, **work: Any) -> str:
        """Submit tasks (task-1 where none is named), oldest first, and make them claimable; the id of the last."""
        for task in tasks or ("task-1",):
            self.submit(task, **work)
        self.run_workflows()
        return (tasks or ("task-1",))[-1]

    def run_workflows(self) -> None:
        """Handle the messages of the workflow queue; those of the other queues are left for later."""
        self._workflow.drain()

    def claimed(self, agent: Agent, task: str = "task-1", **work: Any) -> str:
        """A task that this agent has claimed."""
        self.queued(task, **work)
        assert task in agent.claims()
        return task

    def running(self, agent: Agent, task: str = "task-1", **work: Any) -> str:
        """A task that this agent has started."""
        self.claimed(agent, task, **work)
        ok(agent.progress(task, 0.1))
        return task

    def task(self, task: str = "task-1") -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(f"/api/tasks/{task}"))
        return found

    def state(self, task: str = "task-1") -> str:
        return str(self.task(task)["status"])

    def shown(self, agent: str = "agent-1") -> dict[str, Any]:
        found: dict[str, Any] = ok(self.user.get(f"/api/agents/{agent}"))
        return found

    def shown_owner(self) -> str:
        """The user's id."""
        return str(jwt.decode(self.user.token or "", options={"verify_signature": False})["own"])

    def logged_in_anew(self) -> Client:
        """The same user with a fresh token, a month later."""
        owner = self.shown_owner()
        user = auth_store.load_user(owner)
        assert user is not None
        return self.user.acting_as(tokens.issue("user", owner, owner, user.ver, clock.now()))

    def multiply(self, task: str, names: Sequence[str], *, later: int = 1, keys_only: bool = False) -> None:
        """Copies of a stored task but for its events, each a second newer than the one before; the first `later` s.

        A thousand submissions would be minutes of nothing. `keys_only`: what a list needs of what it does not show.
        """
        (head,) = [row for row in moto_aws.rows("tasks") if row.get("task") == {"S": task}]
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
        for age, name in enumerate(names, later):
            copies += json.loads(text.replace(task, name).replace(str(created), str(created + 1_000 * age)))
        client = boto3.client("dynamodb")
        for start in range(0, len(copies), 25):
            puts: list[Any] = [{"PutRequest": {"Item": copy}} for copy in copies[start : start + 25]]
            client.batch_write_item(RequestItems={"devflow-local-tasks": puts})

    def later(self, clock: Clock, seconds: int, *alive: Agent) -> None:
        """Time passes, with the scheduled function at work; the agents in `alive` show signs of life meanwhile.

        In steps that are shorter than what the platform would take for an outage of its own.
        """
        while seconds > 0:
            step = min(seconds, 170)
            clock.advance(step)
            seconds -= step
            for agent in alive:
                ok(agent.beat())
            self.poller.sweep()
            self.run_workflows()

    def events(self, task: str = "task-1") -> list[str]:
        """The types of a task's events, oldest first, without their prefix."""
        answer = ok(self.user.get(f"/api/tasks/{task}/events", {"limit": 100}))
        return [event["type"].removeprefix("task.") for event in answer["data"]]


def ok(answer: Response, status: int = 200) -> Any:
    """The body of an answer that must be a success."""
    assert answer.status == status, answer
    return answer.json()


def refused(answer: Response, status: int, title: str | None = None) -> dict[str, Any]:
    """The body of an answer that must be an error: exactly the contract's fields, exactly typed, and no more said."""
    assert answer.status == status, answer
    assert answer.header("Content-Type") == "application/json", answer.headers
    body: dict[str, Any] = answer.json()
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
    assert not [trace for trace in TRACE if trace in answer.body], answer.body
    assert title in (None, body["error"]), body
    return body


def epoch(instant: str) -> float:
    """An instant of the API in epoch seconds."""
    return datetime.strptime(instant, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


_SIGNS_OF_LIFE = {"calls", "seenAt", "checkAt", "checkShard", "state", "news", "newsAt", "newsShard"}


def snapshot() -> Mapping[str, Any]:
    """Everything that is stored or queued, but for what any call may leave: counts of calls and signs of life."""
    stored = {
        table: sorted(
            repr(sorted((name, value) for name, value in row.items() if name not in _SIGNS_OF_LIFE))
            for row in moto_aws.rows(table)
        )
        for table in ("users", "agents", "tasks", "webhooks")
    }
    logins = sorted(repr(sorted(row.items())) for row in moto_aws.rows("logins") if "owner" in row)
    queues = {queue: sorted(moto_aws.messages(queue)) for queue in ("workflow", "events", "webhooks")}
    queues["events"] = [message for message in queues["events"] if "task" in message]
    return stored | queues | {"logins": logins}


@contextmanager
def failing(operation: str, error: Exception, *, about: str = "") -> Iterator[None]:
    """AWS fails one operation (where `about` is in the request); on the wire, so that all of our code takes part."""
    real: Callable[..., Any] = botocore.endpoint.Endpoint.make_request

    def make_request(endpoint: Any, model: Any, request: Any) -> Any:
        if model.name == operation and about in str(request["body"]):
            raise error
        return real(endpoint, model, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.endpoint.Endpoint.make_request", make_request)
        yield
