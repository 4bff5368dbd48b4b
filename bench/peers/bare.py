"""The floor: json, hmac and a boto3 client, and not a line more than the contract asks for."""

import base64
import hmac
import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from bench.peers import polling, tasks, work
from bench.peers.answers import HEADERS, failure, log
from bench.peers.work import Caller, Quota, Refused

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Result = tuple[dict[str, Any], Quota]


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    del context
    started = time.perf_counter()
    request_id, who = uuid.uuid4().hex, ""
    asked = event["requestContext"]
    headers = {**HEADERS, "X-Request-Id": request_id}
    try:
        at = work.now()
        caller = _verified({name.lower(): value for name, value in event["headers"].items()}, event["path"], at)
        who = caller.subject
        act = ROUTES.get((asked["httpMethod"], asked["resourcePath"]))
        if act is None:
            raise Refused(404, "Not found")  # noqa: TRY301
        body, quota = act(caller, event, at)
        status = 200
        headers |= quota.headers
    except Refused as refused:
        status, body = refused.status, failure(refused, work.now())
    log(request_id, asked["httpMethod"], asked["resourcePath"], status, started, who)
    return {"statusCode": status, "headers": headers, "multiValueHeaders": {}, "body": json.dumps(body)}


def _verified(headers: dict[str, str], path: str, at: int) -> Caller:
    """The holder of an HS256 token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    try:
        head, payload, signature = token.split(".")
        header, claims = json.loads(_decoded(head)), json.loads(_decoded(payload))
        right = hmac.digest(work.KEYS[header["kid"]], f"{head}.{payload}".encode(), "sha256")
        good = (
            scheme.lower() == "bearer"
            and header["alg"] == "HS256"
            and hmac.compare_digest(right, _decoded(signature))
            and claims["iss"] == "devflow"
            and claims["aud"] == "devflow-local"
        )
        caller = work.caller_of(claims, at)
    except (ValueError, KeyError):
        raise work.denied(path) from None
    if not good:
        raise work.denied(path)
    return caller


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _body(event: dict[str, Any]) -> dict[str, Any]:
    try:
        body = json.loads(event["body"] or "{}")
    except ValueError:
        raise Refused(400, "Invalid JSON") from None
    if not isinstance(body, dict):
        raise _invalid("body")
    return body


def _invalid(name: str) -> Refused:
    return Refused(400, "Invalid request", f"{name} is not valid")


def _text(body: dict[str, Any], name: str, most: int) -> None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise _invalid(name)


def _number(body: dict[str, Any], name: str, least: float, most: float, kinds: Any = (int, float)) -> None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most):
        raise _invalid(name)


def _ids(body: dict[str, Any], name: str, most: int) -> None:
    value = body.get(name)
    if value is not None and (
        not isinstance(value, list)
        or len(value) > most
        or not all(isinstance(each, str) and _NAME.fullmatch(each) for each in value)
    ):
        raise _invalid(name)


def _limit(event: dict[str, Any], usual: int) -> int:
    text = (event["queryStringParameters"] or {}).get("limit", str(usual))
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise _invalid("limit")
    return int(text)


def _agent(caller: Caller, event: dict[str, Any]) -> str:
    agent: str = event["pathParameters"]["agent_id"]
    if caller.kind != "agent" or caller.subject != agent:
        raise Refused(404, "Agent not found")
    return agent


def _read(caller: Caller, letter: str, at: int, read: Callable[[], Any]) -> Any:
    """What was sent; a bad request of an agent is counted, and a sign of life, as well."""
    try:
        return read()
    except Refused:
        work.sign(caller, caller.subject, letter, at)
        raise


def _heartbeat(caller: Caller, event: dict[str, Any], at: int) -> Result:
    agent = _agent(caller, event)
    return work.heartbeat(caller, agent, _read(caller, "h", at, lambda: _said(event)), at)


def _said(event: dict[str, Any]) -> dict[str, Any]:
    body = _body(event)
    _text(body, "status", 32)
    _text(body, "version", 64)
    for name in ("uptime", "taskCount", "memoryUsage", "cpuUsage"):
        _number(body, name, 0, 1e15)
    _number(body, "concurrency", 1, 20, int)
    _ids(body, "capabilities", 32)
    _ids(body, "taskIds", 100)
    _text(body, "instanceId", 128)
    return body


def _poll(caller: Caller, event: dict[str, Any], at: int) -> Result:
    agent = _agent(caller, event)
    return polling.poll(caller, agent, _read(caller, "c", at, lambda: _limit(event, 10)), at)


def _progress(caller: Caller, event: dict[str, Any], at: int) -> Result:
    report = _read(caller, "t", at, lambda: _report(event))
    return tasks.progress(caller, event["pathParameters"]["task_id"], report, at)


def _report(event: dict[str, Any]) -> dict[str, Any]:
    body = _body(event)
    value = body.get("progress")
    if value is None:
        raise Refused(400, "Missing required fields")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Refused(400, "Progress must be between 0 and 1")
    if body.get("status", "in_progress") != "in_progress":
        raise _invalid("status")
    _text(body, "step", 1 << 18)
    _text(body, "details", 1 << 18)
    _number(body, "attempt", 1, 1_000, int)
    return body


def _tasks(caller: Caller, event: dict[str, Any], at: int) -> Result:
    if caller.kind != "user":
        raise Refused(403, "Insufficient permissions")
    return tasks.list_tasks(caller, _limit(event, 20), at)


ROUTES: dict[tuple[str, str], Callable[[Caller, dict[str, Any], int], Result]] = {
    ("POST", "/api/agents/{agent_id}/heartbeat"): _heartbeat,
    ("GET", "/api/agents/{agent_id}/commands"): _poll,
    ("POST", "/api/tasks/{task_id}/progress"): _progress,
    ("GET", "/api/tasks"): _tasks,
}
