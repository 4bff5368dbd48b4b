"""The REST resolver of aws-lambda-powertools, with its logger."""

import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, ValidationError

from bench.peers import answers, polling, shapes, tasks, work
from bench.peers.shapes import Heartbeat, Page, Poll, Progress
from bench.peers.work import Caller, Refused

logger = Logger(service="devflow", location=None, utc=True)
app = APIGatewayRestResolver()
M = TypeVar("M", bound=BaseModel)
who: ContextVar[str] = ContextVar("who", default="")


@app.exception_handler(Refused)
def _refused(refused: Refused) -> Response[Any]:
    return Response(refused.status, "application/json", body=answers.failure(refused, work.now()))


def _caller() -> Caller:
    at = work.now()
    caller = shapes.verified(app.current_event.headers.get("Authorization", ""), app.current_event.path, at)
    app.append_context(at=at)
    who.set(caller.subject)
    return caller


def _at() -> int:
    at: int = app.context["at"]
    return at


def _read(caller: Caller, letter: str, read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as error:
        work.sign(caller, caller.subject, letter, _at())
        raise shapes.refusal(error) from None


def _body() -> str:
    return app.current_event.body or "{}"


def _query() -> dict[str, str]:
    return dict(app.current_event.query_string_parameters or {})


def _answer(body: dict[str, Any], quota: work.Quota) -> Response[Any]:
    headers: dict[str, str | list[str]] = {**quota.headers}
    return Response(200, "application/json", body=body, headers=headers)


@app.post("/api/agents/<agent_id>/heartbeat")
def heartbeat(agent_id: str) -> Response[Any]:
    caller = _caller()
    shapes.own_agent(caller, agent_id)
    said = _read(caller, "h", lambda: Heartbeat.model_validate_json(_body()))
    return _answer(*work.heartbeat(caller, agent_id, said.model_dump(exclude_unset=True), _at()))


@app.get("/api/agents/<agent_id>/commands")
def commands(agent_id: str) -> Response[Any]:
    caller = _caller()
    shapes.own_agent(caller, agent_id)
    query = _read(caller, "c", lambda: Poll.model_validate(_query()))
    return _answer(*polling.poll(caller, agent_id, query.limit, _at()))


@app.post("/api/tasks/<task_id>/progress")
def progress(task_id: str) -> Response[Any]:
    caller = _caller()
    report = _read(caller, "t", lambda: Progress.model_validate_json(_body()))
    return _answer(*tasks.progress(caller, task_id, report.model_dump(exclude_unset=True), _at()))


@app.get("/api/tasks")
def page_of_tasks() -> Response[Any]:
    caller = _caller()
    shapes.user(caller)
    query = _read(caller, "t", lambda: Page.model_validate(_query()))
    return _answer(*tasks.list_tasks(caller, query.limit, _at()))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    started, request_id = time.perf_counter(), uuid.uuid4().hex
    who.set("")
    answer: dict[str, Any] = app.resolve(event, context)
    for name, value in (answers.SECURITY_HEADERS | {"X-Request-Id": request_id}).items():
        answer["multiValueHeaders"][name] = [value]
    asked = event["requestContext"]
    logger.info(
        "request",
        method=asked["httpMethod"],
        route=asked["resourcePath"],
        status=answer["statusCode"],
        ms=round((time.perf_counter() - started) * 1_000, 1),
        who=who.get(),
        requestId=request_id,
    )
    return answer
