"""What clients send about tasks, and what is kept of it."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.core.errors import MissingFields, ProgressOutOfRange
from chalicelib.core.models import Id, InputModel, NonBlankText
from chalicelib.core.settings import KB, SECOND
from chalicelib.core.text import fingerprint, truncate
from chalicelib.http.pagination import ListQuery
from chalicelib.tasks.entities import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, MAX_PRIORITY, TaskStatus

AttemptNumber = Annotated[int, Field(ge=1, le=1_000)]
Intent = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class SubmitTaskRequest(InputModel):
    """What is to be done: the body of POST /api/tasks."""

    intent: Intent
    repo: Annotated[NonBlankText, StringConstraints(max_length=512)]
    branch: Annotated[str, StringConstraints(max_length=255)] | None = None
    natural_language: NonBlankText
    context: dict[str, Any] | None = None
    agent_id: Id | None = None
    """The only agent that may have the task."""
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    timeout_seconds: Annotated[int, Field(ge=60, le=24 * 3_600)] = DEFAULT_TIMEOUT // SECOND
    max_attempts: Annotated[int, Field(ge=1, le=10)] = DEFAULT_ATTEMPTS

    @field_validator("context")
    @classmethod
    def _finite(cls, context: dict[str, Any] | None) -> dict[str, Any] | None:
        """JSON has no infinity, but a number such as 1e400 becomes one."""
        json.dumps(context, allow_nan=False)
        return context

    def digest(self) -> str:
        """Equal for the same request sent twice."""
        return fingerprint(self.model_dump(exclude={"task_id"}, exclude_defaults=True))


class _WithTaskId(InputModel):
    task_id: Id


class ExecuteWorkflowRequest(
    SubmitTaskRequest, _WithTaskId
):  # in this order, so that `taskId` comes first, as it does in the spec
    """The spec's body of POST /api/workflows/execute: the client makes the id."""


class ProgressReport(InputModel):
    progress: Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1})]
    status: Literal["in_progress"] = "in_progress"
    step: str | None = None
    details: str | None = None
    attempt: AttemptNumber | None = None

    @field_validator("progress", mode="before")
    @classmethod
    def _in_range(cls, value: object) -> object:
        if value is None:
            raise MissingFields(["progress"])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ProgressOutOfRange
        return round(value, 4)


class CompleteReport(InputModel):
    success: bool
    summary: str | None = None
    output: str | None = None
    pr_url: str | None = None
    result_files: dict[str, Any] | list[Any] | None = None
    attempt: AttemptNumber | None = None


class FailReport(InputModel):
    error: NonBlankText
    details: str | None = None
    logs: str | None = None
    attempt: AttemptNumber | None = None


class LogChunk(InputModel):
    """A piece of an attempt's log; `offset` is where it begins, in UTF-8 bytes."""

    offset: Annotated[int, Field(ge=0, le=1 << 40)]
    data: str
    attempt: AttemptNumber | None = None


class LogQuery(InputModel):
    offset: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    limit: Annotated[int, Field(ge=1, le=1024 * KB)] = 256 * KB
    attempt: AttemptNumber | None = None


class StoredResult(InputModel):
    """What is kept of a report: each text cut to what a row can carry, with a marker, so that none is unreportable."""

    summary: str | None = None
    output: str | None = None
    pr_url: str | None = None
    result_files: str | None = None
    """JSON."""
    error: str | None = None
    details: str | None = None


def to_stored_result(report: CompleteReport | FailReport) -> StoredResult:
    if isinstance(report, FailReport):
        return StoredResult.model_construct(
            error=truncate(report.error, 16 * KB), details=_truncate_optional(report.details, 64 * KB)
        )
    return StoredResult.model_construct(
        summary=_truncate_optional(report.summary, 16 * KB),
        output=_truncate_optional(report.output, 192 * KB),
        pr_url=_truncate_optional(report.pr_url, 2 * KB),
        result_files=_truncate_files(report.result_files),
        error=None if report.success else truncate(report.summary or "The agent reported no success.", 16 * KB),
    )


def _truncate_optional(text: str | None, maximum: int) -> str | None:
    return None if text is None else truncate(text, maximum)


_MAX_FILES_BYTES = 64 * KB


def _truncate_files(files: dict[str, Any] | list[Any] | None) -> str | None:
    """`resultFiles` as JSON; a list of files that is too long is cut, and says so under `truncated`."""
    if files is None:
        return None
    text = _to_json(files)
    if len(text.encode()) <= _MAX_FILES_BYTES:
        return text
    names = files if isinstance(files, list) else files.get("files")
    kept: list[Any] = []
    room = _MAX_FILES_BYTES - 4 * KB
    for name in names if isinstance(names, list) else []:
        room -= len(_to_json(name).encode()) + 1
        if room < 0:
            break
        kept.append(name)
    commit = files.get("commit") if isinstance(files, dict) else None
    short = {"commit": truncate(commit, KB)} if isinstance(commit, str) else {}
    return _to_json(short | {"files": kept, "truncated": True})


def _to_json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class TaskQuery(ListQuery):
    status: TaskStatus | None = None
    agent_id: Id | None = None
    intent: Intent | None = None


class TaskBody(InputModel):
    """The part of a submission that is read only when somebody needs it."""

    description: str
    context: dict[str, Any] | None
