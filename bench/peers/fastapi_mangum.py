"""FastAPI behind Mangum."""

import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from mangum import Mangum

from bench.peers import answers, polling, shapes, tasks, work
from bench.peers.shapes import Heartbeat, Page, Poll, Progress
from bench.peers.work import Caller, Refused

app = FastAPI(openapi_url=None)
LETTERS = {"/api/agents/{agent_id}/heartbeat": "h", "/api/agents/{agent_id}/commands": "c"}


@app.middleware("http")
async def _around(request: Request, call_next: Callable[[Request], Any]) -> Response:
    started, request_id = time.perf_counter(), uuid.uuid4().hex
    request.state.at, request.state.who = work.now(), ""
    response: Response = await call_next(request)
    response.headers.update(answers.SECURITY_HEADERS)
    response.headers["X-Request-Id"] = request_id
    route = request.scope.get("route")
    path = getattr(route, "path", "")
    answers.log(request_id, request.method, path, response.status_code, started, request.state.who)
    return response


@app.exception_handler(Refused)
async def _refused(request: Request, refused: Refused) -> JSONResponse:
    del request
    return JSONResponse(answers.failure(refused, work.now()), refused.status)


@app.exception_handler(RequestValidationError)
async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A bad request is counted, and a sign of life, as well; if its sender may call at all."""
    try:
        caller = _caller(request)
        path = request.scope["route"].path
        if path in LETTERS:
            shapes.own_agent(caller, request.path_params["agent_id"])
        work.sign(caller, caller.subject, LETTERS.get(path, "t"), request.state.at)
    except Refused as refused:
        return await _refused(request, refused)
    return await _refused(request, shapes.invalid(list(error.errors())))


def _caller(request: Request) -> Caller:
    caller = shapes.verified(request.headers.get("Authorization", ""), request.url.path, request.state.at)
    request.state.who = caller.subject
    return caller


Known = Annotated[Caller, Depends(_caller)]


def _answer(body: dict[str, Any], quota: work.Quota) -> JSONResponse:
    return JSONResponse(body, headers=quota.headers)


@app.post("/api/agents/{agent_id}/heartbeat")
async def heartbeat(caller: Known, agent_id: str, said: Heartbeat, request: Request) -> JSONResponse:
    shapes.own_agent(caller, agent_id)
    return _answer(*work.heartbeat(caller, agent_id, said.model_dump(exclude_unset=True), request.state.at))


@app.get("/api/agents/{agent_id}/commands")
async def commands(caller: Known, agent_id: str, query: Annotated[Poll, Query()], request: Request) -> JSONResponse:
    shapes.own_agent(caller, agent_id)
    return _answer(*polling.poll(caller, agent_id, query.limit, request.state.at))


@app.post("/api/tasks/{task_id}/progress")
async def progress(caller: Known, task_id: str, report: Progress, request: Request) -> JSONResponse:
    return _answer(*tasks.progress(caller, task_id, report.model_dump(exclude_unset=True), request.state.at))


@app.get("/api/tasks")
async def page_of_tasks(caller: Known, query: Annotated[Page, Query()], request: Request) -> JSONResponse:
    shapes.user(caller)
    return _answer(*tasks.list_tasks(caller, query.limit, request.state.at))


handler = Mangum(app, lifespan="off")
