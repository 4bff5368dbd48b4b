"""What a cold start is asked for: an agent's heartbeat, or what a queue or the schedule sends; and what AWS answers."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt

from bench import cold_aws
from infra.deploy.stage import PROJECT
from infra.local.gateway import Gateway

PATH = "/api/agents/{agent_id}/heartbeat"
KEY = "0123456789abcdef0123456789abcdef"


def heartbeat() -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent's heartbeat as API Gateway hands it over, and what AWS answers to the requests that it leads to."""
    rows = json.loads((PROJECT / "tests" / "fixtures" / "rows" / "v1" / "agents.json").read_text(encoding="utf-8"))
    row = next(row for row in rows if row["agent"]["S"] == "idle")
    claims = {
        "iss": "devflow", "aud": "devflow-dev", "sub": "idle", "own": row["owner"]["S"], "typ": "agent",
        "ver": row["ver"]["S"], "jti": "0123456789abcdef", "iat": int(time.time()), "exp": int(time.time()) + 86_400,
    }  # fmt: skip
    token = jwt.encode(claims, KEY, "HS256", {"kid": "key-1"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"status": "ready", "uptime": 3600, "taskCount": 0, "memoryUsage": 256.5, "cpuUsage": 12.5})
    routed: Any = type("Routed", (), {"routes": {PATH: {"POST": None}}})
    gateway = Gateway(routed, stage="api")
    target = PATH.replace("{agent_id}", "idle")
    event = gateway.event("POST", target, headers.items(), body.encode(), source_ip="192.0.2.1")
    secret = json.dumps({"current": "key-1", "key-1": KEY, "slackClientId": "", "slackClientSecret": ""})
    return event, {"UpdateItem": {"Attributes": row}, "GetSecretValue": {"SecretString": secret}, **_ELSE}


def _batch(**message: str) -> dict[str, Any]:
    """An event of SQS, with one message."""
    return {"Records": [{"messageId": "message-1", "body": json.dumps({"owner": "user-1", **message})}]}


EVENTS: dict[str, Any] = {
    "run_workflows": _batch(task="task-1"),
    "announce_events": _batch(task="task-1", event="E#1"),
    "deliver_webhooks": _batch(webhook="webhook-1", delivery="delivery-1"),
    "sweep": json.loads((PROJECT / "tests" / "fixtures" / "events" / "schedule.json").read_text(encoding="utf-8")),
}
"""What the other functions are called with; there is nothing to do, so each makes its first request and ends."""

_ELSE: dict[str, Any] = {
    "GetItem": {},
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
    "UpdateItem devflow-dev-tasks": {"Attributes": {"lastAt": {"N": "0"}, "shards": {"N": "1"}}},
    "UpdateItem devflow-dev-webhooks": {"__type": "dynamodb#ConditionalCheckFailedException", "message": "gone"},
}


def stage_environment() -> dict[str, str]:
    """What a function has on the stage dev."""
    config = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    variables: dict[str, str] = config["stages"]["dev"]["environment_variables"]
    return variables


@contextmanager
def stage() -> Iterator[tuple[Any, dict[str, str]]]:
    """An event, and the environment of a function of a stage where it can be answered."""
    event, answers = heartbeat()
    with cold_aws.answering(answers) as endpoint:
        yield event, {"AWS_ENDPOINT_URL": endpoint, **stage_environment()}
