"""Flask behind apig-wsgi."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from apig_wsgi import make_lambda_handler
from flask import Flask, Response, g, jsonify, request
from pydantic import BaseModel, ValidationError

from bench.peers import common, heartbeats, http_common, polling, request_models, tasks
from bench.peers.common import ApiError, Caller, RateLimitState
from bench.peers.request_models import HeartbeatBody, PollQuery, ProgressBody, TaskListQuery

app = Flask("devflow")
M = TypeVar("M", bound=BaseModel)


@app.before_request
def _start_request() -> None:
    g.started, g.request_id, g.subject = time.perf_counter(), uuid.uuid4().hex, ""
    g.at = common.now()


@app.after_request
def _end_request(response: Response) -> Response:
    response.headers.update(http_common.SECURITY_HEADERS)
    response.headers["X-Request-Id"] = g.request_id
    rule = str(request.url_rule)
    http_common.log_request(g.request_id, request.method, rule, response.status_code, g.started, g.subject)
    return response


@app.errorhandler(ApiError)
def _respond_with_error(error: ApiError) -> tuple[Response, int]:
    return jsonify(http_common.make_error_body(error, common.now())), error.status


def _verify_caller() -> Caller:
    caller = request_models.verify_token(request.headers.get("Authorization", ""), request.path, g.at)
    g.subject = caller.subject
    return caller


def _parse(caller: Caller, kind: str, parse: Callable[[], M]) -> M:
    """What `parse` returns. An invalid request also counts against the rate limit, and is a check-in."""
    try:
        return parse()
    except ValidationError as error:
        common.record_check_in(caller, caller.subject, kind, g.at)
        raise request_models.convert_validation_error(error) from None


def _respond(body: dict[str, Any], rate_limit: RateLimitState) -> Response:
    response = jsonify(body)
    response.headers.update(rate_limit.headers)
    return response


@app.post("/api/agents/<agent_id>/heartbeat")
def post_heartbeat(agent_id: str) -> Response:
    caller = _verify_caller()
    request_models.require_own_agent(caller, agent_id)
    body = _parse(caller, "h", lambda: HeartbeatBody.model_validate_json(request.get_data() or b"{}"))
    return _respond(*heartbeats.record_heartbeat(caller, agent_id, body.model_dump(exclude_unset=True), g.at))


@app.get("/api/agents/<agent_id>/commands")
def poll(agent_id: str) -> Response:
    caller = _verify_caller()
    request_models.require_own_agent(caller, agent_id)
    query = _parse(caller, "c", lambda: PollQuery.model_validate(request.args.to_dict()))
    return _respond(*polling.poll(caller, agent_id, query.limit, g.at))


@app.post("/api/tasks/<task_id>/progress")
def post_progress(task_id: str) -> Response:
    caller = _verify_caller()
    report = _parse(caller, "t", lambda: ProgressBody.model_validate_json(request.get_data() or b"{}"))
    return _respond(*tasks.report_progress(caller, task_id, report.model_dump(exclude_unset=True), g.at))


@app.get("/api/tasks")
def list_tasks() -> Response:
    caller = _verify_caller()
    request_models.require_user(caller)
    query = _parse(caller, "t", lambda: TaskListQuery.model_validate(request.args.to_dict()))
    return _respond(*tasks.list_tasks(caller, query.limit, g.at))


handler = make_lambda_handler(app.wsgi_app, binary_support=False)
