"""The floor: json, hmac and a boto3 client, and only the code that the API's contract requires."""

import base64
import hmac
import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from bench.peers import common, heartbeats, polling, tasks
from bench.peers.common import ApiError, Caller, Result
from bench.peers.http_common import HEADERS, log_request, make_error_body

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    del context
    started = time.perf_counter()
    request_id, subject = uuid.uuid4().hex, ""
    request = event["requestContext"]
    headers = {**HEADERS, "X-Request-Id": request_id}
    try:
        at = common.now()
        caller = _verify_token({name.lower(): value for name, value in event["headers"].items()}, event["path"], at)
        subject = caller.subject
        call_route = ROUTES.get((request["httpMethod"], request["resourcePath"]))
        if call_route is None:
            raise ApiError(404, "Not found")  # noqa: TRY301
        body, rate_limit = call_route(caller, event, at)
        status = 200
        headers |= rate_limit.headers
    except ApiError as error:
        status, body = error.status, make_error_body(error, common.now())
    log_request(request_id, request["httpMethod"], request["resourcePath"], status, started, subject)
    return {"statusCode": status, "headers": headers, "multiValueHeaders": {}, "body": json.dumps(body)}


def _verify_token(headers: dict[str, str], path: str, at: int) -> Caller:
    """The caller that an HS256 token identifies. Raises ApiError if the token is invalid."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    try:
        head, payload, signature = token.split(".")
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
        expected = hmac.digest(common.KEYS[header["kid"]], f"{head}.{payload}".encode(), "sha256")
        is_valid = (
            scheme.lower() == "bearer"
            and header["alg"] == "HS256"
            and hmac.compare_digest(expected, _decode(signature))
            and claims["iss"] == "devflow"
            and claims["aud"] == "devflow-local"
        )
        caller = common.make_caller(claims, at)
    except (ValueError, KeyError):
        raise common.make_token_error(path) from None
    if not is_valid:
        raise common.make_token_error(path)
    return caller


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _parse_body(event: dict[str, Any]) -> dict[str, Any]:
    try:
        body = json.loads(event["body"] or "{}")
    except ValueError:
        raise ApiError(400, "Invalid JSON") from None
    if not isinstance(body, dict):
        raise _invalid("body")
    return body


def _invalid(name: str) -> ApiError:
    return ApiError(400, "Invalid request", f"{name} is not valid")


def _check_text(body: dict[str, Any], name: str, maximum: int) -> None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > maximum):
        raise _invalid(name)


def _check_number(body: dict[str, Any], name: str, minimum: float, maximum: float, kinds: Any = (int, float)) -> None:
    value = body.get(name)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, kinds) or not minimum <= value <= maximum
    ):
        raise _invalid(name)


def _check_ids(body: dict[str, Any], name: str, maximum: int) -> None:
    value = body.get(name)
    if value is not None and (
        not isinstance(value, list)
        or len(value) > maximum
        or not all(isinstance(each, str) and _ID.fullmatch(each) for each in value)
    ):
        raise _invalid(name)


def _parse_limit(event: dict[str, Any], default: int) -> int:
    text = (event["queryStringParameters"] or {}).get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise _invalid("limit")
    return int(text)


def _require_own_agent(caller: Caller, event: dict[str, Any]) -> str:
    agent_id: str = event["pathParameters"]["agent_id"]
    if caller.kind != "agent" or caller.subject != agent_id:
        raise ApiError(404, "Agent not found")
    return agent_id


def _parse(caller: Caller, kind: str, at: int, parse: Callable[[], Any]) -> Any:
    """What `parse` returns. An agent's invalid request also counts against its rate limit, and is a check-in."""
    try:
        return parse()
    except ApiError:
        common.record_check_in(caller, caller.subject, kind, at)
        raise


def _post_heartbeat(caller: Caller, event: dict[str, Any], at: int) -> Result:
    agent_id = _require_own_agent(caller, event)
    return heartbeats.record_heartbeat(caller, agent_id, _parse(caller, "h", at, lambda: _parse_heartbeat(event)), at)


def _parse_heartbeat(event: dict[str, Any]) -> dict[str, Any]:
    body = _parse_body(event)
    _check_text(body, "status", 32)
    _check_text(body, "version", 64)
    for name in ("uptime", "taskCount", "memoryUsage", "cpuUsage"):
        _check_number(body, name, 0, 1e15)
    _check_number(body, "concurrency", 1, 20, int)
    _check_ids(body, "capabilities", 32)
    _check_ids(body, "taskIds", 100)
    _check_text(body, "instanceId", 128)
    return body


def _poll(caller: Caller, event: dict[str, Any], at: int) -> Result:
    agent_id = _require_own_agent(caller, event)
    return polling.poll(caller, agent_id, _parse(caller, "c", at, lambda: _parse_limit(event, 10)), at)


def _post_progress(caller: Caller, event: dict[str, Any], at: int) -> Result:
    report = _parse(caller, "t", at, lambda: _parse_report(event))
    return tasks.report_progress(caller, event["pathParameters"]["task_id"], report, at)


def _parse_report(event: dict[str, Any]) -> dict[str, Any]:
    body = _parse_body(event)
    value = body.get("progress")
    if value is None:
        raise ApiError(400, "Missing required fields")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ApiError(400, "Progress must be between 0 and 1")
    if body.get("status", "in_progress") != "in_progress":
        raise _invalid("status")
    _check_text(body, "step", 1 << 18)
    _check_text(body, "details", 1 << 18)
    _check_number(body, "attempt", 1, 1_000, int)
    return body


def _list_tasks(caller: Caller, event: dict[str, Any], at: int) -> Result:
    if caller.kind != "user":
        raise ApiError(403, "Insufficient permissions")
    return tasks.list_tasks(caller, _parse_limit(event, 20), at)


ROUTES: dict[tuple[str, str], Callable[[Caller, dict[str, Any], int], Result]] = {
    ("POST", "/api/agents/{agent_id}/heartbeat"): _post_heartbeat,
    ("GET", "/api/agents/{agent_id}/commands"): _poll,
    ("POST", "/api/tasks/{task_id}/progress"): _post_progress,
    ("GET", "/api/tasks"): _list_tasks,
}
