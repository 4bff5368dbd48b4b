"""/api/tasks and /api/workflows/execute: submitting, listing and reading tasks, and the reports of agents."""

from typing import TypeVar

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import AgentNotFound, Invalid, ProgressOutOfRange, TaskNotFound, WrongOffset
from chalicelib.core.models import InputModel
from chalicelib.http import REPORT_LIMIT, Request, Response, route
from chalicelib.http.pagination import ListQuery
from chalicelib.http.rate_limits import TASKS_API
from chalicelib.tasks import logs, reports, service
from chalicelib.tasks.pinning import IntentNotAccepted, TaskNotAdmitted
from chalicelib.tasks.quota_rules import DailyQuotaReached, TooManyOpenTasks
from chalicelib.tasks.requests import (
    CompleteReport,
    ExecuteWorkflowRequest,
    FailReport,
    LogChunk,
    LogQuery,
    ProgressReport,
    RepoHasCredentials,
    SubmitTaskRequest,
    TaskQuery,
)
from chalicelib.tasks.responses import (
    AcceptedResponse,
    AppendLogResponse,
    CancelResponse,
    FinishedResponse,
    LogResponse,
    ProgressResponse,
    TaskDetail,
    TaskEventList,
    TaskList,
)
from chalicelib.tasks.rules import NotHeld, WrongState
from chalicelib.tasks.service import (
    DescriptionExpired,
    DifferentRequest,
    ExecutionFailed,
    NotOwnAgent,
)

blueprint = Blueprint(__name__)

_SUBMIT_ERRORS = (
    RepoHasCredentials,
    IntentNotAccepted,
    TaskNotAdmitted,
    DifferentRequest,
    AgentNotFound,
    TooManyOpenTasks,
    DailyQuotaReached,
    ExecutionFailed,
)


@route(
    blueprint, "POST", "/api/workflows/execute", "authenticated", TASKS_API,
    body=ExecuteWorkflowRequest, response=AcceptedResponse, status=202, raises=(*_SUBMIT_ERRORS, NotOwnAgent),
)  # fmt: skip
def execute_workflow(request: Request) -> Response:
    """Submit a task under your own id. A task that an agent submits is pinned to this agent."""
    caller = guard.authenticated(request)
    service.admit_caller(caller, request.now)
    task_id = service.submit_with_id(caller, request.body(ExecuteWorkflowRequest), request.now)
    return Response(AcceptedResponse(task_id=task_id))


@route(
    blueprint, "POST", "/api/tasks", "user", TASKS_API,
    body=SubmitTaskRequest, idempotency_key=True, response=AcceptedResponse, status=202, raises=_SUBMIT_ERRORS,
)  # fmt: skip
def submit_task(request: Request) -> Response:
    """Submit a task under a new id."""
    owner = guard.admitted_user(request).owner
    task_id = service.submit_new(owner, request.body(SubmitTaskRequest), request.idempotency_key, request.now)
    return Response(AcceptedResponse(task_id=task_id))


@route(blueprint, "GET", "/api/tasks", "user", TASKS_API, query=TaskQuery, response=TaskList)
def list_tasks(request: Request) -> Response:
    """List tasks, newest first."""
    user = guard.admitted_user(request)
    return Response(service.list_tasks(user.owner, request.query_params(TaskQuery), request.now))


@route(
    blueprint, "GET", "/api/tasks/{task_id}", "authenticated", TASKS_API, response=TaskDetail, raises=(TaskNotFound,)
)
def get_task(request: Request, task_id: str) -> Response:
    """Read a task with its description and result."""
    return Response(service.get_task(guard.authenticated(request), task_id, request.now))


@route(
    blueprint, "GET", "/api/tasks/{task_id}/events", "user", TASKS_API,
    query=ListQuery, response=TaskEventList, raises=(TaskNotFound,),
)  # fmt: skip
def list_events(request: Request, task_id: str) -> Response:
    """List the events of a task, oldest first."""
    user = guard.admitted_user(request)
    return Response(service.list_events(user.owner, task_id, request.query_params(ListQuery), request.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/cancel", "user", TASKS_API,
    response=CancelResponse, raises=(TaskNotFound, WrongState),
)  # fmt: skip
def cancel_task(request: Request, task_id: str) -> Response:
    """Cancel a task: at once, or after at most 60 s while it runs."""
    user = guard.admitted_user(request)
    return Response(service.cancel_task(user.owner, task_id, request.now))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/retry", "user", TASKS_API,
    response=AcceptedResponse, status=202,
    raises=(
        RepoHasCredentials, IntentNotAccepted, TaskNotAdmitted, TaskNotFound, WrongState, DescriptionExpired,
        AgentNotFound, TooManyOpenTasks, DailyQuotaReached,
    ),
)  # fmt: skip
def retry_task(request: Request, task_id: str) -> Response:
    """Repeat a task that has ended, as a new task."""
    user = guard.admitted_user(request)
    return Response(AcceptedResponse(task_id=service.retry_task(user.owner, task_id, request.now)))


@route(
    blueprint, "POST", "/api/tasks/{task_id}/progress", "authenticated", TASKS_API,
    body=ProgressReport, response=ProgressResponse, raises=(ProgressOutOfRange, TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def report_progress(request: Request, task_id: str) -> Response:
    """Report progress. The first report starts the task."""
    caller = guard.authenticated(request)
    return Response(
        reports.report_progress(caller, task_id, _parse_report(request, caller, ProgressReport), request.now)
    )


@route(
    blueprint, "POST", "/api/tasks/{task_id}/complete", "authenticated", TASKS_API,
    body=CompleteReport, max_body_bytes=REPORT_LIMIT, response=FinishedResponse,
    raises=(TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def complete_task(request: Request, task_id: str) -> Response:
    """Report that a task is done."""
    caller = guard.authenticated(request)
    return Response(
        reports.report_complete(caller, task_id, _parse_report(request, caller, CompleteReport), request.now)
    )


@route(
    blueprint, "POST", "/api/tasks/{task_id}/fail", "authenticated", TASKS_API,
    body=FailReport, max_body_bytes=REPORT_LIMIT, response=FinishedResponse, raises=(TaskNotFound, NotHeld, WrongState),
)  # fmt: skip
def fail_task(request: Request, task_id: str) -> Response:
    """Report that a task failed."""
    caller = guard.authenticated(request)
    report = _parse_report(request, caller, FailReport)
    finished = reports.report_failure(caller, task_id, report, request.now)
    if report.logs:  # after the end, so that a problem with the log cannot prevent it; a repeated report adds nothing
        logs.append_final_log(caller, task_id, report.logs, request.now)
    return Response(finished)


@route(
    blueprint, "POST", "/api/tasks/{task_id}/logs", "authenticated", TASKS_API,
    body=LogChunk, max_body_bytes=REPORT_LIMIT, response=AppendLogResponse, raises=(TaskNotFound, NotHeld, WrongOffset),
)  # fmt: skip
def append_log(request: Request, task_id: str) -> Response:
    """Append to the log of the present attempt."""
    caller = guard.authenticated(request)
    return Response(logs.append_log(caller, task_id, _parse_report(request, caller, LogChunk), request.now))


@route(
    blueprint, "GET", "/api/tasks/{task_id}/logs", "authenticated", TASKS_API,
    query=LogQuery, response=LogResponse, raises=(TaskNotFound,),
)  # fmt: skip
def read_log(request: Request, task_id: str) -> Response:
    """Read the log of an attempt from an offset."""
    caller = guard.authenticated(request)
    return Response(logs.read_log(caller, task_id, request.query_params(LogQuery), request.now))


R = TypeVar("R", bound=InputModel)


def _parse_report(request: Request, caller: Caller, model: type[R]) -> R:
    """The body of a report. Raises Invalid, or what admitting the caller raises.

    The write that stores a report also checks the token and counts the call. A report with an invalid body has no such
    write, so its caller is admitted and counted here.
    """
    try:
        return request.body(model)
    except Invalid:
        reports.admit_reporter(caller, request.now)
        raise
