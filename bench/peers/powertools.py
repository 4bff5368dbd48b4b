"""The REST resolver of aws-lambda-powertools, with its logger."""

import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, ValidationError

from bench.peers import common, heartbeats, http_common, polling, request_models, tasks
from bench.peers.common import ApiError, Caller, RateLimitState
from bench.peers.request_models import HeartbeatBody, PollQuery, ProgressBody, TaskListQuery

logger = Logger(service="devflow", location=None, utc=True)
app = APIGatewayRestResolver()
M = TypeVar("M", bound=BaseModel)
caller_subject: ContextVar[str] = ContextVar("caller_subject", default="")


@app.exception_handler(ApiError)
def _respond_with_error(error: ApiError) -> Response[Any]:
    return Response(error.status, "application/json", body=http_common.make_error_body(error, common.now()))


def _verify_caller() -> Caller:
    at = common.now()
    caller = request_models.verify_token(app.current_event.headers.get("Authorization", ""), app.current_event.path, at)
    app.append_context(at=at)
    caller_subject.set(caller.subject)
    return caller


def _request_time() -> int:
    at: int = app.context["at"]
    return at


def _parse(caller: Caller, kind: str, parse: Callable[[], M]) -> M:
    """What `parse` returns. An invalid request also counts against the rate limit, and is a check-in."""
    try:
        return parse()
    except ValidationError as error:
        common.record_check_in(caller, caller.subject, kind, _request_time())
        raise request_models.convert_validation_error(error) from None


def _read_body() -> str:
    return app.current_event.body or "{}"


def _read_query() -> dict[str, str]:
    return dict(app.current_event.query_string_parameters or {})


def _respond(body: dict[str, Any], rate_limit: RateLimitState) -> Response[Any]:
    headers: dict[str, str | list[str]] = {**rate_limit.headers}
    return Response(200, "application/json", body=body, headers=headers)


@app.post("/api/agents/<agent_id>/heartbeat")
def post_heartbeat(agent_id: str) -> Response[Any]:
    caller = _verify_caller()
    request_models.require_own_agent(caller, agent_id)
    body = _parse(caller, "h", lambda: HeartbeatBody.model_validate_json(_read_body()))
    return _respond(
        *heartbeats.record_heartbeat(caller, agent_id, body.model_dump(exclude_unset=True), _request_time())
    )


@app.get("/api/agents/<agent_id>/commands")
def poll(agent_id: str) -> Response[Any]:
    caller = _verify_caller()
    request_models.require_own_agent(caller, agent_id)
    query = _parse(caller, "c", lambda: PollQuery.model_validate(_read_query()))
    return _respond(*polling.poll(caller, agent_id, query.limit, _request_time()))


@app.post("/api/tasks/<task_id>/progress")
def post_progress(task_id: str) -> Response[Any]:
    caller = _verify_caller()
    report = _parse(caller, "t", lambda: ProgressBody.model_validate_json(_read_body()))
    return _respond(*tasks.report_progress(caller, task_id, report.model_dump(exclude_unset=True), _request_time()))


@app.get("/api/tasks")
def list_tasks() -> Response[Any]:
    caller = _verify_caller()
    request_models.require_user(caller)
    query = _parse(caller, "t", lambda: TaskListQuery.model_validate(_read_query()))
    return _respond(*tasks.list_tasks(caller, query.limit, _request_time()))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    started, request_id = time.perf_counter(), uuid.uuid4().hex
    caller_subject.set("")
    response: dict[str, Any] = app.resolve(event, context)
    for name, value in (http_common.SECURITY_HEADERS | {"X-Request-Id": request_id}).items():
        response["multiValueHeaders"][name] = [value]
    request = event["requestContext"]
    logger.info(
        "request",
        method=request["httpMethod"],
        route=request["resourcePath"],
        status=response["statusCode"],
        ms=round((time.perf_counter() - started) * 1_000, 1),
        who=caller_subject.get(),
        requestId=request_id,
    )
    return response
