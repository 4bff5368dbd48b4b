"""What clients send about tasks, and what is kept of it."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.errors import MissingFields, ProgressOutOfRange
from chalicelib.pages import ListQuery
from chalicelib.settings import KB, SECOND
from chalicelib.tasks.task import DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, HIGHEST_PRIORITY, Status
from chalicelib.texts import cut, digest
from chalicelib.types import Id, Request, Text

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

    @field_validator("context")
    @classmethod
    def _finite(cls, context: dict[str, Any] | None) -> dict[str, Any] | None:
        """JSON has no infinity, but a number such as 1e400 becomes one."""
        json.dumps(context, allow_nan=False)
        return context

    def digest(self) -> str:
        """Equal for the same request sent twice."""
        return digest(self.model_dump(exclude={"task_id"}, exclude_defaults=True))


class _Named(Request):
    task_id: Id


class Execute(Work, _Named):  # in this order, so that `taskId` comes first, as it does in the spec
    """The spec's body of POST /api/workflows/execute: the client makes the id."""


class ProgressReport(Request):
    progress: Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1})]
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


class Body(Request):
    """The part of a submission that is read only when somebody needs it."""

    description: str
    context: dict[str, Any] | None
