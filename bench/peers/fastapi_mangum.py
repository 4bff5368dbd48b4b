"""FastAPI behind Mangum."""

import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from mangum import Mangum

from bench.peers import common, heartbeats, http_common, polling, request_models, tasks
from bench.peers.common import ApiError, Caller, RateLimitState
from bench.peers.request_models import HeartbeatBody, PollQuery, ProgressBody, TaskListQuery

app = FastAPI(openapi_url=None)
KINDS = {"/api/agents/{agent_id}/heartbeat": "h", "/api/agents/{agent_id}/commands": "c"}


@app.middleware("http")
async def _add_headers_and_log(request: Request, call_next: Callable[[Request], Any]) -> Response:
    started, request_id = time.perf_counter(), uuid.uuid4().hex
    request.state.at, request.state.subject = common.now(), ""
    response: Response = await call_next(request)
    response.headers.update(http_common.SECURITY_HEADERS)
    response.headers["X-Request-Id"] = request_id
    route = request.scope.get("route")
    path = getattr(route, "path", "")
    http_common.log_request(request_id, request.method, path, response.status_code, started, request.state.subject)
    return response


@app.exception_handler(ApiError)
async def _respond_with_error(request: Request, error: ApiError) -> JSONResponse:
    del request
    return JSONResponse(http_common.make_error_body(error, common.now()), error.status)


@app.exception_handler(RequestValidationError)
async def _respond_to_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """An invalid request also counts against the rate limit and is a check-in, if its caller is authorized."""
    try:
        caller = _verify_caller(request)
        path = request.scope["route"].path
        if path in KINDS:
            request_models.require_own_agent(caller, request.path_params["agent_id"])
        common.record_check_in(caller, caller.subject, KINDS.get(path, "t"), request.state.at)
    except ApiError as api_error:
        return await _respond_with_error(request, api_error)
    return await _respond_with_error(request, request_models.to_api_error(list(error.errors())))


def _verify_caller(request: Request) -> Caller:
    caller = request_models.verify_token(request.headers.get("Authorization", ""), request.url.path, request.state.at)
    request.state.subject = caller.subject
    return caller


Authenticated = Annotated[Caller, Depends(_verify_caller)]


def _respond(body: dict[str, Any], rate_limit: RateLimitState) -> JSONResponse:
    return JSONResponse(body, headers=rate_limit.headers)


@app.post("/api/agents/{agent_id}/heartbeat")
async def post_heartbeat(caller: Authenticated, agent_id: str, body: HeartbeatBody, request: Request) -> JSONResponse:
    request_models.require_own_agent(caller, agent_id)
    return _respond(
        *heartbeats.record_heartbeat(caller, agent_id, body.model_dump(exclude_unset=True), request.state.at)
    )


@app.get("/api/agents/{agent_id}/commands")
async def poll(
    caller: Authenticated, agent_id: str, query: Annotated[PollQuery, Query()], request: Request
) -> JSONResponse:
    request_models.require_own_agent(caller, agent_id)
    return _respond(*polling.poll(caller, agent_id, query.limit, request.state.at))


@app.post("/api/tasks/{task_id}/progress")
async def post_progress(caller: Authenticated, task_id: str, report: ProgressBody, request: Request) -> JSONResponse:
    return _respond(*tasks.report_progress(caller, task_id, report.model_dump(exclude_unset=True), request.state.at))


@app.get("/api/tasks")
async def list_tasks(caller: Authenticated, query: Annotated[TaskListQuery, Query()], request: Request) -> JSONResponse:
    request_models.require_user(caller)
    return _respond(*tasks.list_tasks(caller, query.limit, request.state.at))


handler = Mangum(app, lifespan="off")
