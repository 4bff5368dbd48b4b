"""What clients get to see of tasks."""

import json
from typing import Any

from pydantic import Field

from chalicelib.pages import Listing
from chalicelib.settings import SECOND
from chalicelib.tasks.shapes import Body, Outcome
from chalicelib.tasks.task import Event, Status, Task
from chalicelib.times import iso, iso_or_none
from chalicelib.types import Instant, Reply


class Appended(Reply):
    success: bool = True
    task_id: str
    next_offset: int
    truncated: bool
    """The log is full; nothing more is kept."""


class LogReply(Reply):
    task_id: str
    attempt: int
    offset: int
    data: str
    next_offset: int
    complete: bool
    """Nothing more will come: the attempt is over and all of it was read."""
    truncated: bool


class TaskReply(Reply):
    """A task as lists show it; `description` is the beginning of the text."""

    id: str
    user_id: str
    agent_id: str | None
    intent: str
    repo: str
    branch: str | None
    description: str
    status: Status
    progress: float
    current_step: str | None
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    error: str | None
    details: str | None
    priority: int
    timeout_seconds: int
    attempt: int
    max_attempts: int
    cancel_requested: bool
    retry_of: str | None
    updated_at: Instant


class TaskListing(Listing):
    data: list[TaskReply]


class WholeTaskReply(TaskReply):
    """A task as GET /api/tasks/{id} shows it: the spec's fields, the whole description, and the result."""

    context: dict[str, Any] | None
    summary: str | None
    output: str | None
    pr_url: str | None
    result_files: Any


class EventReply(Reply):
    type: str
    timestamp: Instant
    status: Status
    attempt: int
    agent_id: str | None
    detail: str | None


class EventListing(Listing):
    data: list[EventReply]


class Accepted(Reply):
    accepted: bool = True
    task_id: str


class Progressed(Reply):
    success: bool = True
    task_id: str
    message: str = "Progress updated"
    cancel_requested: bool


class Finished(Reply):
    success: bool = True
    task_id: str
    status: Status


class Cancelled(Reply):
    success: bool = True
    task_id: str
    status: Status
    cancel_requested: bool
    """True while the agent that runs it has yet to stop."""


class Command(Reply):
    """A task as an agent sees it when it polls. The spec writes two of its keys with an underscore."""

    task_id: str = Field(serialization_alias="task_id")
    intent: str
    repo: str
    branch: str | None
    description: str
    context: dict[str, Any]
    created_at: Instant = Field(serialization_alias="created_at")
    attempt: int
    timeout_seconds: int


class Commands(Reply):
    commands: list[Command]
    next_poll_interval: int
    """Milliseconds."""


def fields(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "user_id": task.owner,
        "agent_id": task.agent or task.pin,
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


def in_list(task: Task) -> TaskReply:
    return TaskReply.model_construct(**fields(task))


def whole(task: Task, body: Body, result: Outcome) -> WholeTaskReply:
    shown = fields(task) | {
        "description": body.description,
        "context": body.context,
        "summary": result.summary,
        "output": result.output,
        "pr_url": result.pr_url,
        "result_files": json.loads(result.result_files) if result.result_files else None,
        "error": result.error or task.error,
        "details": result.details or task.details,
    }
    return WholeTaskReply.model_construct(**shown)


def command(task: Task, body: Body) -> Command:
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


def event(told: Event) -> EventReply:
    return EventReply(
        type=told.type,
        timestamp=iso(told.at),
        status=told.status,
        attempt=told.attempt,
        agent_id=told.agent,
        detail=told.detail,
    )


def told(event: Event, task: Task, result: Outcome) -> dict[str, Any]:
    """What webhooks tell of an event: for `task.created` and `task.completed` the spec's fields, to the letter.

    What may change after the event (the state, who holds the task, its attempt) comes from the event, the rest from the
    task, so the same is told whenever this is asked.
    """
    if event.type == "task.created":
        return {"taskId": task.id, "userId": task.owner, "intent": task.intent, "repo": task.repo}
    about: dict[str, Any] = {"taskId": task.id, "status": event.status}
    if event.type == "task.started":
        return about | {"agentId": event.agent, "attempt": event.attempt, "startedAt": iso(event.at)}
    ended = {"completedAt": iso_or_none(task.completed_at)}
    if event.type == "task.completed":
        return about | {"prUrl": result.pr_url} | ended
    return about | {"error": task.error} | ended
