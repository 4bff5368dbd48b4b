"""/api/tasks: submit, list, read, and the reports of agents."""

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.http import REPORT_LIMIT, Answer, Call, idempotency_key, route
from chalicelib.pages import ListQuery
from chalicelib.ratelimit import TASKS_API
from chalicelib.tasks import service
from chalicelib.tasks.shapes import Accepted, CompleteReport, Execute, FailReport, ProgressReport, TaskQuery, Work

blueprint = Blueprint(__name__)


@route(blueprint, "POST", "/api/workflows/execute")
def execute_workflow(call: Call) -> Answer:
    caller = guard.anyone(call)
    service.count(caller, call.now)
    return Answer(Accepted(task_id=service.submit(caller.owner, call.body(Execute), call.now)), 202)


@route(blueprint, "POST", "/api/tasks")
def submit_task(call: Call) -> Answer:
    user = guard.user(call, TASKS_API)
    task = service.submit_new(user.owner, call.body(Work), idempotency_key(call), call.now)
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


@route(blueprint, "POST", "/api/tasks/{task_id}/progress")
def report_progress(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(service.progress(caller, task_id, call.body(ProgressReport), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/complete")
def complete_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(service.complete(caller, task_id, call.body(CompleteReport, limit=REPORT_LIMIT), call.now))


@route(blueprint, "POST", "/api/tasks/{task_id}/fail")
def fail_task(call: Call, task_id: str) -> Answer:
    caller = guard.anyone(call)
    return Answer(service.fail(caller, task_id, call.body(FailReport, limit=REPORT_LIMIT), call.now))
