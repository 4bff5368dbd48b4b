"""What clients send about tasks, and what they get."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.errors import MissingFields, ProgressOutOfRange
from chalicelib.pages import ListQuery
from chalicelib.settings import KB, SECOND
from chalicelib.tasks.model import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, HIGHEST_PRIORITY, Event, Status, Task
from chalicelib.texts import cut, digest
from chalicelib.times import iso, iso_or_none
from chalicelib.types import Id, Reply, Request, Text

Attempt = Annotated[int, Field(ge=1, le=1_000)]
Intent = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class Work(Request):
    """What is to be done: the body of POST /api/tasks."""

    intent: Intent
    repo: Annotated[Text, StringConstraints(max_length=512)]
    branch: Annotated[str, StringConstraints(max_length=255)] | None = None
    natural_language: Text
    context: dict[str, Any] | None = None
    agent_id: Id | None = None
    """The only agent that may have the task."""
    priority: Annotated[int, Field(ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)] = 0
    timeout_seconds: Annotated[int, Field(ge=60, le=24 * 3_600)] = DEFAULT_TIMEOUT // SECOND
    max_attempts: Annotated[int, Field(ge=1, le=10)] = DEFAULT_ATTEMPTS

    def digest(self) -> str:
        """Equal for the same request sent twice."""
        return digest(self.model_dump(exclude={"task_id"}))


class Execute(Work):
    """The spec's body of POST /api/workflows/execute: the client makes the id."""

    task_id: Id


class ProgressReport(Request):
    progress: float
    status: Literal["in_progress"] = "in_progress"
    step: str | None = None
    details: str | None = None
    attempt: Attempt | None = None

    @field_validator("progress", mode="before")
    @classmethod
    def _in_range(cls, value: object) -> object:
        if value is None:
            raise MissingFields(["progress"])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ProgressOutOfRange
        return round(value, 4)


class CompleteReport(Request):
    success: bool
    summary: str | None = None
    output: str | None = None
    pr_url: str | None = None
    result_files: dict[str, Any] | list[Any] | None = None
    attempt: Attempt | None = None


class FailReport(Request):
    error: Text
    details: str | None = None
    logs: str | None = None
    attempt: Attempt | None = None


class LogChunk(Request):
    """A piece of an attempt's log; `offset` is where it begins, in UTF-8 bytes."""

    offset: Annotated[int, Field(ge=0, le=1 << 40)]
    data: str
    attempt: Attempt | None = None


class LogQuery(Request):
    offset: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    limit: Annotated[int, Field(ge=1, le=1024 * KB)] = 256 * KB
    attempt: Attempt | None = None


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


class Outcome(Request):
    """What is kept of a report: each text cut to what a row can carry, with a marker, so that none is unreportable."""

    summary: str | None = None
    output: str | None = None
    pr_url: str | None = None
    result_files: str | None = None
    """JSON."""
    error: str | None = None
    details: str | None = None


def outcome(report: CompleteReport | FailReport) -> Outcome:
    if isinstance(report, FailReport):
        return Outcome.model_construct(error=cut(report.error, 16 * KB), details=_cut(report.details, 64 * KB))
    return Outcome.model_construct(
        summary=_cut(report.summary, 16 * KB),
        output=_cut(report.output, 192 * KB),
        pr_url=_cut(report.pr_url, 2 * KB),
        result_files=_files(report.result_files),
        error=None if report.success else cut(report.summary or "The agent reported no success.", 16 * KB),
    )


def _cut(text: str | None, most: int) -> str | None:
    return None if text is None else cut(text, most)


_MOST_FILES = 64 * KB


def _files(files: dict[str, Any] | list[Any] | None) -> str | None:
    """`resultFiles` as JSON; a list of files that is too long is cut, and says so under `truncated`."""
    if files is None:
        return None
    text = _json(files)
    if len(text.encode()) <= _MOST_FILES:
        return text
    names = files if isinstance(files, list) else files.get("files")
    kept: list[Any] = []
    room = _MOST_FILES - 4 * KB
    for name in names if isinstance(names, list) else []:
        room -= len(_json(name).encode()) + 1
        if room < 0:
            break
        kept.append(name)
    commit = files.get("commit") if isinstance(files, dict) else None
    short = {"commit": cut(commit, KB)} if isinstance(commit, str) else {}
    return _json(short | {"files": kept, "truncated": True})


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class TaskQuery(ListQuery):
    status: Status | None = None
    agent_id: Id | None = None
    intent: Intent | None = None


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
    created_at: str
    started_at: str | None
    completed_at: str | None
    error: str | None
    details: str | None
    priority: int
    timeout_seconds: int
    attempt: int
    max_attempts: int
    cancel_requested: bool
    retry_of: str | None
    updated_at: str


class WholeTaskReply(TaskReply):
    """A task as GET /api/tasks/{id} shows it: the spec's fields, the whole description, and the result."""

    context: dict[str, Any] | None
    summary: str | None
    output: str | None
    pr_url: str | None
    result_files: Any


class EventReply(Reply):
    type: str
    timestamp: str
    status: Status
    attempt: int
    agent_id: str | None
    detail: str | None


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
    created_at: str = Field(serialization_alias="created_at")
    attempt: int
    timeout_seconds: int


class Commands(Reply):
    commands: list[Command]
    next_poll_interval: int
    """Milliseconds."""


class Body(Request):
    """The part of a submission that is read only when somebody needs it."""

    description: str
    context: dict[str, Any] | None


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
