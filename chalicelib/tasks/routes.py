"""/api/tasks: submit, list, read, and the reports of agents."""

from typing import TypeVar

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.auth.tokens import Caller
from chalicelib.errors import Invalid
from chalicelib.http import BODY_LIMIT, REPORT_LIMIT, Answer, Call, route
from chalicelib.pages import ListQuery
from chalicelib.ratelimit import TASKS_API
from chalicelib.tasks import logs, reports, service
from chalicelib.tasks.shapes import (
    CompleteReport,
    Execute,
    FailReport,
    LogChunk,
    LogQuery,
    ProgressReport,
    TaskQuery,
    Work,
)
from chalicelib.tasks.views import Accepted
from chalicelib.types import Request

blueprint = Blueprint(__name__)


@route(blueprint, "POST", "/api/workflows/execute")
def execute_workflow(call: Call) -> Answer:
    admitted = service.admit(guard.anyone(call), call.now)
    return Answer(Accepted(task_id=service.submit(admitted, call.body(Execute), call.now)), 202)


@route(blueprint, "POST", "/api/tasks")
def submit_task(call: Call) -> Answer:
    admitted = service.admit(guard.user_token(call), call.now)
    task = service.submit_new(admitted, call.body(Work), call.idempotency_key, call.now)
    return Answer(Accepted(task_id=task), 202)


@route(blueprint, "GET", "/api/tasks")
def list_tasks(call: Call) -> Answer:
    user = guard.user(call, TASKS_API)
    return Answer(service.list_tasks(user.owner, call.params(TaskQuery), call.now))


@route(blueprint, "GET", "/api/tasks/{task_id}")
def get_task(call: Call, task_id: str) -> Answer:
    return Answer(service.show(guard.anyone(call), task_id, call.now))


@route(blueprint, "GET", "/api/tasks/{task_id}/events")
def list_events(call: Call, task_id: str) -> Answer:
    user = guard.user(call, TASKS_API)
    return Answer(service.list_events(user.owner, task_id, call.params(ListQuery), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/cancel")
def cancel_task(call: Call, task_id: str) -> Answer:
    user = guard.user(call, TASKS_API)
    return Answer(service.cancel(user.owner, task_id, call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/retry")
def retry_task(call: Call, task_id: str) -> Answer:
    admitted = service.admit(guard.user_token(call), call.now)
    return Answer(Accepted(task_id=service.retry(admitted, task_id, call.now)), 202)


@route(blueprint, "POST", "/api/tasks/{task_id}/progress")
def report_progress(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(reports.progress(caller, task_id, _report(call, caller, ProgressReport), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/complete")
def complete_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(reports.complete(caller, task_id, _report(call, caller, CompleteReport), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/fail")
def fail_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    report = _report(call, caller, FailReport)
    finished = reports.fail(caller, task_id, report, call.now)
    if report.logs:  # behind the end, so that they never stand in its way; sent again, they are kept once
        logs.append_last(caller, task_id, report.logs, call.now)
    return Answer(finished)


@route(blueprint, "POST", "/api/tasks/{task_id}/logs")
def append_log(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(logs.append(caller, task_id, _report(call, caller, LogChunk), call.now))


@route(blueprint, "GET", "/api/tasks/{task_id}/logs")
def read_log(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(logs.read(caller, task_id, call.params(LogQuery), call.now))


R = TypeVar("R", bound=Request)


def _report(call: Call, caller: Caller, model: type[R]) -> R:
    """A report's body. The write that takes a report also checks its token; a bad body has no such write, so whoever
    sent it is let in (or not) and counted here."""
    try:
        return call.body(model, limit=BODY_LIMIT if model is ProgressReport else REPORT_LIMIT)
    except Invalid:
        reports.admitted(caller, call.now)
        raise
