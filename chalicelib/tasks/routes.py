"""/api/tasks: submit, list, read, and the reports of agents."""

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.http import REPORT_LIMIT, Answer, Call, route
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

blueprint = Blueprint(__name__)


@route(blueprint, "POST", "/api/workflows/execute")
def execute_workflow(call: Call) -> Answer:
    caller = guard.anyone(call)
    service.count(caller, call.now)
    return Answer(Accepted(task_id=service.submit(caller.owner, call.body(Execute), call.now)), 202)


@route(blueprint, "POST", "/api/tasks")
def submit_task(call: Call) -> Answer:
    user = guard.user(call, TASKS_API)
    task = service.submit_new(user.owner, call.body(Work), call.idempotency_key, call.now)
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
    user = guard.user(call, TASKS_API)
    return Answer(Accepted(task_id=service.retry(user.owner, task_id, call.now)), 202)


@route(blueprint, "POST", "/api/tasks/{task_id}/progress")
def report_progress(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(reports.progress(caller, task_id, call.body(ProgressReport), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/complete")
def complete_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(reports.complete(caller, task_id, call.body(CompleteReport, limit=REPORT_LIMIT), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/fail")
def fail_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    report = call.body(FailReport, limit=REPORT_LIMIT)
    finished = reports.fail(caller, task_id, report, call.now)
    if report.logs:  # behind the end, so that they never stand in its way; sent again, they are kept once
        logs.append_last(caller, task_id, report.logs, call.now)
    return Answer(finished)


@route(blueprint, "POST", "/api/tasks/{task_id}/logs")
def append_log(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(logs.append(caller, task_id, call.body(LogChunk, limit=REPORT_LIMIT), call.now))


@route(blueprint, "GET", "/api/tasks/{task_id}/logs")
def read_log(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(logs.read(caller, task_id, call.params(LogQuery), call.now))
