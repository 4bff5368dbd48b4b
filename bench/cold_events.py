"""The event that a cold start handles, and AWS's responses to the requests that follow from it. The event is an agent's
heartbeat, a queue's message or the schedule."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt

from bench import cold_fake_aws
from infra.deploy.stage import PROJECT
from infra.local.gateway import Gateway

PATH = "/api/agents/{agent_id}/heartbeat"
KEY = "0123456789abcdef0123456789abcdef"


def make_heartbeat() -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent's heartbeat as API Gateway passes it on, and AWS's response to each operation that it causes."""
    rows = json.loads((PROJECT / "tests" / "fixtures" / "rows" / "v1" / "agents.json").read_text(encoding="utf-8"))
    row = next(row for row in rows if row["agent"]["S"] == "idle")
    claims = {
        "iss": "devflow", "aud": "devflow-dev", "sub": "idle", "own": row["owner"]["S"], "typ": "agent",
        "ver": row["ver"]["S"], "jti": "0123456789abcdef", "iat": int(time.time()), "exp": int(time.time()) + 86_400,
    }  # fmt: skip
    token = jwt.encode(claims, KEY, "HS256", {"kid": "key-1"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"status": "ready", "uptime": 3600, "taskCount": 0, "memoryUsage": 256.5, "cpuUsage": 12.5})
    app: Any = type("App", (), {"routes": {PATH: {"POST": None}}})
    gateway = Gateway(app, stage="api")
    path = PATH.replace("{agent_id}", "idle")
    event = gateway.event("POST", path, headers.items(), body.encode(), source_ip="192.0.2.1")
    secret = json.dumps({"current": "key-1", "key-1": KEY, "slackClientId": "", "slackClientSecret": ""})
    return event, {"UpdateItem": {"Attributes": row}, "GetSecretValue": {"SecretString": secret}, **_OTHER_RESPONSES}


def _sqs_event(**message: str | int) -> dict[str, Any]:
    """An SQS event with one message."""
    return {"Records": [{"messageId": "message-1", "body": json.dumps({"owner": "user-1", **message})}]}


EVENTS: dict[str, Any] = {
    "run_workflows": _sqs_event(task="task-1"),
    "announce_events": _sqs_event(task="task-1", event="E#1"),
    "deliver_webhooks": _sqs_event(webhook="webhook-1", delivery="delivery-1"),
    "sweep_backlog": _sqs_event(kind="tasks", shard=0, until=int(time.time() * 1_000) + 86_400_000),
    "sweep": json.loads((PROJECT / "tests" / "fixtures" / "events" / "schedule.json").read_text(encoding="utf-8")),
}
"""The events of the other functions. They find no work, so each function makes its first request and ends."""

_OTHER_RESPONSES: dict[str, Any] = {
    "GetItem": {},
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
    "UpdateItem devflow-dev-tasks": {"Attributes": {"lastAt": {"N": "0"}, "shards": {"N": "1"}}},
    "UpdateItem devflow-dev-webhooks": {"__type": "dynamodb#ConditionalCheckFailedException", "message": "gone"},
}


def load_environment() -> dict[str, str]:
    """The environment variables of a function on the stage `dev`."""
    config = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    variables: dict[str, str] = config["stages"]["dev"]["environment_variables"]
    return variables


@contextmanager
def serve_stage() -> Iterator[tuple[Any, dict[str, str]]]:
    """Run the stand-in for AWS. Yields a heartbeat, and the environment of a function that sends its requests there."""
    heartbeat, responses = make_heartbeat()
    with cold_fake_aws.serve(responses) as endpoint:
        yield heartbeat, {"AWS_ENDPOINT_URL": endpoint, **load_environment()}
