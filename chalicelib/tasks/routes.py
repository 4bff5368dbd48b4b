"""/api/tasks: submit, list, read, and the reports of agents."""

from typing import TypeVar

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, Invalid, ProgressOutOfRange, TaskNotFound, WrongOffset
from chalicelib.http import REPORT_LIMIT, Answer, Call, route
from chalicelib.pages import ListQuery
from chalicelib.ratelimit import TASKS_API
from chalicelib.tasks import logs, reports, service
from chalicelib.tasks.model import NotHeld, WrongState
from chalicelib.tasks.service import ExecutionFailed, OtherRequest, TooManyOpenTasks
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
from chalicelib.tasks.views import (
    Accepted,
    Appended,
    Cancelled,
    EventListing,
    Finished,
    LogReply,
    Progressed,
    TaskListing,
    WholeTaskReply,
)
from chalicelib.types import Request

blueprint = Blueprint(__name__)

_NOT_ACCEPTED = (OtherRequest, AgentNotFound, TooManyOpenTasks, ExecutionFailed)


@route(
    blueprint, "POST", "/api/workflows/execute", "anyone", TASKS_API,
    body=Execute, answer=Accepted, status=202, raises=_NOT_ACCEPTED,
)  # fmt: skip
def execute_workflow(call: Call) -> Answer:
    """Submit a task under an id of your own."""
    admitted = service.admit(guard.anyone(call), call.now)
    return Answer(Accepted(task_id=service.submit(admitted, call.body(Execute), call.now)))


@route(
    blueprint, "POST", "/api/tasks", "user", TASKS_API,
    body=Work, idempotency_key=True, answer=Accepted, status=202, raises=_NOT_ACCEPTED,
)  # fmt: skip
def submit_task(call: Call) -> Answer:
    """Submit a task under a new id."""
    admitted = service.admit(guard.user_token(call), call.now)
    task = service.submit_new(admitted, call.body(Work), call.idempotency_key, call.now)
    return Answer(Accepted(task_id=task))


@route(blueprint, "GET", "/api/tasks", "user", TASKS_API, query=TaskQuery, answer=TaskListing)
def list_tasks(call: Call) -> Answer:
    """List your tasks, newest first."""
    user = guard.user(call)
    return Answer(service.list_tasks(user.owner, call.params(TaskQuery), call.now))


@route(blueprint, "GET", "/api/tasks/{task_id}", "anyone", TASKS_API, answer=WholeTaskReply, raises=(TaskNotFound,))
def get_task(call: Call, task_id: str) -> Answer:
    """Read a task with its description and result."""
    return Answer(service.show(guard.anyone(call), task_id, call.now))


@route(
    blueprint, "GET", "/api/tasks/{task_id}/events", "user", TASKS_API,
    query=ListQuery, answer=EventListing, raises=(TaskNotFound,),
)  # fmt: skip
def list_events(call: Call, task_id: str) -> Answer:
    """List what happened to a task, oldest first."""
    user = guard.user(call)
    return Answer(service.list_events(user.owner, task_id, call.params(ListQuery), call.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/cancel", "user", TASKS_API,
    answer=Cancelled, raises=(TaskNotFound, WrongState),
)  # fmt: skip
def cancel_task(call: Call, task_id: str) -> Answer:
    """Cancel a task: at once, or with a minute's grace while it runs."""
    user = guard.user(call)
    return Answer(service.cancel(user.owner, task_id, call.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/retry", "user", TASKS_API,
    answer=Accepted, status=202, raises=(TaskNotFound, WrongState, AgentNotFound, TooManyOpenTasks),
)  # fmt: skip
def retry_task(call: Call, task_id: str) -> Answer:
    """Do a task that has ended again, as a new task."""
    admitted = service.admit(guard.user_token(call), call.now)
    return Answer(Accepted(task_id=service.retry(admitted, task_id, call.now)))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/progress", "anyone", TASKS_API,
    body=ProgressReport, answer=Progressed, raises=(ProgressOutOfRange, TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def report_progress(call: Call, task_id: str) -> Answer:
    """Report progress; the first report starts the task."""
    caller = guard.anyone(call)
    return Answer(reports.progress(caller, task_id, _report(call, caller, ProgressReport), call.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/complete", "anyone", TASKS_API,
    body=CompleteReport, limit=REPORT_LIMIT, answer=Finished, raises=(TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def complete_task(call: Call, task_id: str) -> Answer:
    """Report that a task is done."""
    caller = guard.anyone(call)
    return Answer(reports.complete(caller, task_id, _report(call, caller, CompleteReport), call.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/fail", "anyone", TASKS_API,
    body=FailReport, limit=REPORT_LIMIT, answer=Finished, raises=(TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def fail_task(call: Call, task_id: str) -> Answer:
    """Report that a task failed."""
    caller = guard.anyone(call)
    report = _report(call, caller, FailReport)
    finished = reports.fail(caller, task_id, report, call.now)
    if report.logs:  # behind the end, so that they never stand in its way; sent again, they are kept once
        logs.append_last(caller, task_id, report.logs, call.now)
    return Answer(finished)


@route(
    blueprint, "POST", "/api/tasks/{task_id}/logs", "anyone", TASKS_API,
    body=LogChunk, limit=REPORT_LIMIT, answer=Appended, raises=(TaskNotFound, NotHeld, WrongOffset),
)  # fmt: skip
def append_log(call: Call, task_id: str) -> Answer:
    """Append to the log of the attempt that runs."""
    caller = guard.anyone(call)
    return Answer(logs.append(caller, task_id, _report(call, caller, LogChunk), call.now))


@route(
    blueprint, "GET", "/api/tasks/{task_id}/logs", "anyone", TASKS_API,
    query=LogQuery, answer=LogReply, raises=(TaskNotFound,),
)  # fmt: skip
def read_log(call: Call, task_id: str) -> Answer:
    """Read the log of an attempt, from an offset on."""
    caller = guard.anyone(call)
    return Answer(logs.read(caller, task_id, call.params(LogQuery), call.now))


R = TypeVar("R", bound=Request)


def _report(call: Call, caller: Caller, model: type[R]) -> R:
    """A report's body. The write that takes a report also checks its token; a bad body has no such write, so whoever
    sent it is let in (or not) and counted here."""
    try:
        return call.body(model)
    except Invalid:
        reports.admitted(caller, call.now)
        raise
