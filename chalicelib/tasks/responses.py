"""Responses about tasks, and the conversion of tasks and events to them."""

import json
from typing import Any

from pydantic import Field

from chalicelib.core.models import Instant, OutputModel
from chalicelib.core.settings import SECOND
from chalicelib.core.timestamps import iso, iso_or_none
from chalicelib.http.pagination import ListResponse
from chalicelib.tasks.entities import Task, TaskEvent, TaskStatus
from chalicelib.tasks.requests import StoredResult, TaskBody
from chalicelib.tasks.waiting_rules import WaitingCode, WaitingReason


class AppendLogResponse(OutputModel):
    """The response of POST /api/tasks/{id}/logs."""

    success: bool = True
    task_id: str
    next_offset: int
    """Where the next chunk begins. Not meaningful once `truncated` is `true`."""
    truncated: bool
    """Whether the log has reached 4 MB, or was cut at a quota. Further chunks are accepted and not stored."""


class LogResponse(OutputModel):
    """A part of an attempt's log: the response of GET /api/tasks/{id}/logs."""

    task_id: str
    attempt: int
    """The attempt that `data` belongs to."""
    offset: int
    """Where `data` begins. This is later than requested if the request was within a character."""
    data: str
    """The text. No character is split. It may be shorter than `limit`, even if the log continues."""
    next_offset: int
    """The offset of the next read."""
    complete: bool
    """Whether `data` reaches the end of the attempt's log, and the log can no longer grow."""
    truncated: bool
    """Whether the log has reached 4 MB, or was cut at a quota. Further chunks were not stored."""
    open_until: Instant | None
    """Until when the log of an ended task may still grow. `null` while the task is open, and once the log is closed."""


class TaskSummary(OutputModel):
    """A task in a list. `description` is the beginning of the submitted text."""

    id: str
    user_id: str
    """The user that the task belongs to."""
    agent_id: str | None
    """The agent that holds the task or held it when it ended; before that, the agent that it is pinned to."""
    intent: str
    repo: str
    branch: str | None
    description: str
    """The submitted `naturalLanguage`. Lists contain its first 200 characters."""
    status: TaskStatus
    progress: float
    """From 0 to 1."""
    current_step: str | None
    """The last reported step."""
    created_at: Instant
    started_at: Instant | None
    """When the present attempt started."""
    completed_at: Instant | None
    """When the task ended, in whatever status."""
    error: str | None
    """Why the task failed, or what the agent reported when it stopped. Lists contain its first 512 bytes."""
    details: str | None
    """The details of the last report."""
    priority: int
    timeout_seconds: int
    attempt: int
    """The number of the present attempt, from 1."""
    max_attempts: int
    cancel_requested: bool
    """Whether a cancellation of the running task was requested."""
    retry_of: str | None
    """The id of the task that this one repeats."""
    updated_at: Instant


class TaskList(ListResponse):
    data: list[TaskSummary]


class WaitingReasonResponse(OutputModel):
    """Why a task waits for an agent. Up to 2,000 agents are examined, and the rules of the first 50 that are online."""

    code: WaitingCode
    """The reason for programs. New ones may be added."""
    message: str
    """The reason for people, and what to do. It says so if not all agents were examined."""


class TaskDetail(TaskSummary):
    """A task with its full description and its result: the response of GET /api/tasks/{id}."""

    context: dict[str, Any] | None
    """As submitted."""
    summary: str | None
    """As reported."""
    output: str | None
    """As reported."""
    pr_url: str | None
    """As reported."""
    result_files: Any
    """As reported."""
    waiting_reason: WaitingReasonResponse | None
    """Why the task waits. `null` if it does not wait, or if an agent is about to claim it."""


class TaskEventResponse(OutputModel):
    """An event of a task's timeline."""

    type: str
    timestamp: Instant
    status: TaskStatus
    """The status of the task after the event."""
    attempt: int
    agent_id: str | None
    """The agent that the event is about."""
    detail: str | None
    """A step, an error or a reason, depending on `type`."""


class TaskEventList(ListResponse):
    data: list[TaskEventResponse]


class AcceptedResponse(OutputModel):
    """The response to a submission. The task is stored."""

    accepted: bool = True
    task_id: str
    """The id of the task."""


class ProgressResponse(OutputModel):
    """The response to a progress report."""

    success: bool = True
    task_id: str
    message: str = "Progress updated"
    cancel_requested: bool
    """`true`: stop the work and report `fail`."""


class FinishedResponse(OutputModel):
    """The response to a report that ends a task."""

    success: bool = True
    task_id: str
    status: TaskStatus
    """The status in which the task ended."""


class CancelResponse(OutputModel):
    """The response to a cancellation."""

    success: bool = True
    task_id: str
    status: TaskStatus
    """The status after the call."""
    cancel_requested: bool
    """`true` while the agent that runs the task has not stopped yet."""


class Command(OutputModel):
    """A claimed task in the response to a poll. The specification has two of its keys with an underscore."""

    task_id: str = Field(serialization_alias="task_id")
    """The id of the task. It identifies the command together with `attempt`."""
    intent: str
    """What kind of work it is."""
    repo: str
    """The repository."""
    branch: str | None
    """The branch to start from."""
    description: str
    """What is to be done: the submitted `naturalLanguage`."""
    context: dict[str, Any]
    """As submitted; `{}` if there is none."""
    created_at: Instant = Field(serialization_alias="created_at")
    """When the task was submitted."""
    attempt: int
    """The number of this attempt, from 1."""
    timeout_seconds: int
    """How long the attempt may run."""


class PollResponse(OutputModel):
    """The response to a poll: GET /api/agents/{id}/commands."""

    commands: list[Command]
    """The claims of the agent that it has not started."""
    next_poll_interval: int
    """Milliseconds to wait before the next poll."""


def _common_fields(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "user_id": task.owner,
        "agent_id": task.agent_id or task.pinned_agent_id,
        "intent": task.intent,
        "repo": task.repo,
        "branch": task.branch,
        "description": task.title,
        "status": task.status,
        "progress": task.progress,
        "current_step": task.step,
        "created_at": iso(task.created_at or 0),
        "started_at": iso_or_none(task.started_at),
        "completed_at": iso_or_none(task.completed_at),
        "error": task.error,
        "details": task.details,
        "priority": task.priority,
        "timeout_seconds": task.timeout // SECOND,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "cancel_requested": task.cancel_at is not None,
        "retry_of": task.retry_of,
        "updated_at": iso(task.updated_at or 0),
    }


def to_summary(task: Task) -> TaskSummary:
    """A task as lists contain it."""
    return TaskSummary.model_construct(**_common_fields(task))


def to_detail(
    task: Task, body: TaskBody | None, result: StoredResult, waiting_reason: WaitingReason | None = None
) -> TaskDetail:
    """A task with the full texts of its body and result. The head has only the beginning of some of them."""
    fields = _common_fields(task) | {
        "description": task.title if body is None else body.description,
        "context": None if body is None else body.context,
        "summary": result.summary,
        "output": result.output,
        "pr_url": result.pr_url,
        "result_files": json.loads(result.result_files) if result.result_files else None,
        "error": result.error or task.error,
        "details": result.details or task.details,
        "waiting_reason": waiting_reason
        and WaitingReasonResponse(code=waiting_reason.code, message=waiting_reason.message),
    }
    return TaskDetail.model_construct(**fields)


def to_command(task: Task, body: TaskBody) -> Command:
    return Command.model_construct(
        task_id=task.id,
        intent=task.intent or "",
        repo=task.repo or "",
        branch=task.branch,
        description=body.description,
        context=body.context or {},
        created_at=iso(task.created_at or 0),
        attempt=task.attempt,
        timeout_seconds=task.timeout // SECOND,
    )


def to_event_response(event: TaskEvent) -> TaskEventResponse:
    return TaskEventResponse(
        type=event.type,
        timestamp=iso(event.at),
        status=event.status,
        attempt=event.attempt,
        agent_id=event.agent_id,
        detail=event.detail,
    )


def event_payload(event: TaskEvent, task: Task, result: StoredResult) -> dict[str, Any]:
    """The data of an event for webhooks. For `task.created` and `task.completed` it has the specification's fields.

    What can change after the event (the status, the agent, the attempt) comes from the event, and the rest from the
    task. So the data is the same whenever it is built.
    """
    if event.type == "task.created":
        return {"taskId": task.id, "userId": task.owner, "intent": task.intent, "repo": task.repo}
    common: dict[str, Any] = {"taskId": task.id, "status": event.status}
    if event.type == "task.started":
        return common | {"agentId": event.agent_id, "attempt": event.attempt, "startedAt": iso(event.at)}
    ended = {"completedAt": iso_or_none(task.completed_at)}
    if event.type == "task.completed":
        return common | {"prUrl": result.pr_url} | ended
    return common | {"error": task.error} | ended
