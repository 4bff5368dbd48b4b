"""Flask behind apig-wsgi."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from apig_wsgi import make_lambda_handler
from flask import Flask, Response, g, jsonify, request
from pydantic import BaseModel, ValidationError

from bench.peers import answers, polling, shapes, tasks, work
from bench.peers.shapes import Heartbeat, Page, Poll, Progress
from bench.peers.work import Caller, Refused

app = Flask("devflow")
M = TypeVar("M", bound=BaseModel)


@app.before_request
def _begin() -> None:
    g.started, g.request_id, g.who = time.perf_counter(), uuid.uuid4().hex, ""
    g.at = work.now()


@app.after_request
def _end(response: Response) -> Response:
    response.headers.update(answers.SECURITY_HEADERS)
    response.headers["X-Request-Id"] = g.request_id
    rule = str(request.url_rule)
    answers.log(g.request_id, request.method, rule, response.status_code, g.started, g.who)
    return response


@app.errorhandler(Refused)
def _refused(refused: Refused) -> tuple[Response, int]:
    return jsonify(answers.failure(refused, work.now())), refused.status


def _caller() -> Caller:
    caller = shapes.verified(request.headers.get("Authorization", ""), request.path, g.at)
    g.who = caller.subject
    return caller


def _read(caller: Caller, letter: str, read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as error:
        work.sign(caller, caller.subject, letter, g.at)
        raise shapes.refusal(error) from None


def _answer(body: dict[str, Any], quota: work.Quota) -> Response:
    response = jsonify(body)
    response.headers.update(quota.headers)
    return response


@app.post("/api/agents/<agent_id>/heartbeat")
def heartbeat(agent_id: str) -> Response:
    caller = _caller()
    shapes.own_agent(caller, agent_id)
    said = _read(caller, "h", lambda: Heartbeat.model_validate_json(request.get_data() or b"{}"))
    return _answer(*work.heartbeat(caller, agent_id, said.model_dump(exclude_unset=True), g.at))


@app.get("/api/agents/<agent_id>/commands")
def commands(agent_id: str) -> Response:
    caller = _caller()
    shapes.own_agent(caller, agent_id)
    query = _read(caller, "c", lambda: Poll.model_validate(request.args.to_dict()))
    return _answer(*polling.poll(caller, agent_id, query.limit, g.at))


@app.post("/api/tasks/<task_id>/progress")
def progress(task_id: str) -> Response:
    caller = _caller()
    report = _read(caller, "t", lambda: Progress.model_validate_json(request.get_data() or b"{}"))
    return _answer(*tasks.progress(caller, task_id, report.model_dump(exclude_unset=True), g.at))


@app.get("/api/tasks")
def page_of_tasks() -> Response:
    caller = _caller()
    shapes.user(caller)
    query = _read(caller, "t", lambda: Page.model_validate(request.args.to_dict()))
    return _answer(*tasks.list_tasks(caller, query.limit, g.at))


handler = make_lambda_handler(app.wsgi_app, binary_support=False)
