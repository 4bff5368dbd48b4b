"""Bodies and queries of requests about tasks, and the parts of them that are stored."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.core.errors import Invalid, MissingFields, ProgressOutOfRange, TooLarge
from chalicelib.core.models import Id, InputModel, NonBlankText
from chalicelib.core.repo_patterns import has_credentials
from chalicelib.core.settings import KB, SECOND
from chalicelib.core.text import fingerprint, truncate
from chalicelib.http.pagination import ListQuery
from chalicelib.tasks.entities import (
    DEFAULT_ATTEMPTS,
    DEFAULT_TIMEOUT,
    MAX_ATTEMPTS,
    MAX_PRIORITY,
    MAX_TIMEOUT,
    TaskStatus,
)

AttemptNumber = Annotated[int, Field(ge=1, le=1_000)]
Intent = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class RepoHasCredentials(Invalid):
    """The field `repo` contains a password or token. Remove the part before the @: agents use their own credentials."""


def check_no_credentials(repo: str) -> str:
    """Return the repository. Raises RepoHasCredentials, whose message does not repeat it."""
    if has_credentials(repo):
        raise RepoHasCredentials
    return repo


class SubmitTaskRequest(InputModel):
    """A task to submit: the body of POST /api/tasks."""

    intent: Intent
    """What kind of work it is. Only agents with this intent among their `capabilities` claim the task."""
    repo: Annotated[NonBlankText, StringConstraints(max_length=512)]
    """The repository. A URL must not contain a password or token: agents use their own credentials."""
    branch: Annotated[str, StringConstraints(max_length=255)] | None = None
    """The branch to start from."""
    natural_language: NonBlankText
    """What is to be done. Limited only by the size of the request."""
    context: dict[str, Any] | None = None
    """Passed to the agent unchanged."""
    agent_id: Id | None = None
    """Pins the task to one agent. The agent must be registered and must accept the intent, and its rules must admit the
    repository and the submitter. If it does not claim the task within 24 hours, the task fails."""
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Tasks with a higher number are claimed first."""
    timeout_seconds: Annotated[int, Field(ge=60, le=MAX_TIMEOUT // SECOND)] = DEFAULT_TIMEOUT // SECOND
    """How long one attempt may run."""
    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = DEFAULT_ATTEMPTS
    """How often the task is started at most, if agents are lost while they run it."""

    @field_validator("repo")
    @classmethod
    def _without_credentials(cls, repo: str) -> str:
        return check_no_credentials(repo)

    @field_validator("context")
    @classmethod
    def _finite(cls, context: dict[str, Any] | None) -> dict[str, Any] | None:
        """Reject infinity. JSON does not have it, but Python reads a number such as 1e400 as infinity."""
        json.dumps(context, allow_nan=False)
        return context

    def digest(self) -> str:
        """A digest of the task's content. A repeated request has the same digest."""
        return fingerprint(self.model_dump(exclude={"task_id"}, exclude_defaults=True))


class _WithTaskId(InputModel):
    task_id: Id
    """Chosen by the client, unique among the user's tasks."""


class ExecuteWorkflowRequest(
    SubmitTaskRequest, _WithTaskId
):  # in this order, `taskId` comes first, as in the specification
    """The body of POST /api/workflows/execute, as in the specification: the client chooses the id."""


class ProgressReport(InputModel):
    """The body of POST /api/tasks/{id}/progress."""

    progress: Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1})]
    """The share of the work that is done."""
    status: Literal["in_progress"] = "in_progress"
    """No other value is accepted."""
    step: str | None = None
    """What the agent does now. A new step becomes an event. Stored up to 256 bytes."""
    details: str | None = None
    """More about the step. Stored up to 512 bytes."""
    attempt: AttemptNumber | None = None
    """The attempt that the report is about."""

    @field_validator("progress", mode="before")
    @classmethod
    def _in_range(cls, value: object) -> object:
        if value is None:
            raise MissingFields(["progress"])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ProgressOutOfRange
        return round(value, 4)


LogBytes = Annotated[int, Field(ge=0, le=1 << 40)]


class CompleteReport(InputModel):
    """The body of POST /api/tasks/{id}/complete."""

    success: bool
    """`false`: the task failed, and `summary` is its error."""
    summary: str | None = None
    """What was done, in a few sentences. Stored up to 16 KB."""
    output: str | None = None
    """The result in full. Stored up to 192 KB."""
    pr_url: str | None = None
    """The pull request. Stored up to 2 KB."""
    result_files: dict[str, Any] | list[Any] | None = None
    """Any JSON object or array, for example `commit` and `files`. Stored up to 64 KB of JSON."""
    attempt: AttemptNumber | None = None
    """The attempt that the report is about."""
    log_bytes: LogBytes | None = None
    """The size of the attempt's whole log, in bytes of UTF-8. The log is complete as soon as that much is stored."""

    @property
    def log_end(self) -> int | None:
        """The size that the attempt's log will have. None if that is not known."""
        return self.log_bytes


class FailReport(InputModel):
    """The body of POST /api/tasks/{id}/fail."""

    error: NonBlankText
    """Why the task failed. Stored up to 16 KB."""
    details: str | None = None
    """More about the failure. Stored up to 64 KB."""
    logs: str | None = None
    """Appended to the task's log, which is complete afterwards."""
    attempt: AttemptNumber | None = None
    """The attempt that the report is about."""
    log_bytes: LogBytes | None = None
    """The size of the attempt's whole log without `logs`, in bytes of UTF-8. The log is complete as soon as that much
    is stored."""

    @property
    def log_end(self) -> int | None:
        """The size that the attempt's log will have. None if that is not known."""
        return None if self.log_bytes is None else self.log_bytes + len((self.logs or "").encode())


class LogChunk(InputModel):
    """The body of POST /api/tasks/{id}/logs: a chunk of an attempt's log."""

    offset: Annotated[int, Field(ge=0, le=1 << 40)]
    """Where the chunk begins, in bytes of UTF-8 from the beginning of the attempt's log."""
    data: str
    """The text."""
    attempt: AttemptNumber | None = None
    """The attempt that the log is about."""


class LogQuery(InputModel):
    """The query of GET /api/tasks/{id}/logs."""

    offset: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    """In bytes of UTF-8."""
    limit: Annotated[int, Field(ge=1, le=1024 * KB)] = 256 * KB
    """In bytes of UTF-8."""
    attempt: AttemptNumber | None = None
    """Each attempt has a log. The latest attempt if absent."""


class StoredResult(InputModel):
    """The stored part of a report. Texts that are too long for a row are cut with a marker, not rejected."""

    summary: str | None = None
    output: str | None = None
    pr_url: str | None = None
    result_files: str | None = None
    """JSON."""
    error: str | None = None
    details: str | None = None


def to_stored_result(report: CompleteReport | FailReport) -> StoredResult:
    """The part of a report that is stored. Each text is cut to its maximum size."""
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
    """`resultFiles` as JSON. If it is too large, only the commit and the first files are stored."""
    if files is None:
        return None
    text = _to_json(files)
    if len(text.encode()) <= _MAX_FILES_BYTES:
        return text
    names = files if isinstance(files, list) else files.get("files")
    first_names: list[Any] = []
    room = _MAX_FILES_BYTES - 4 * KB
    for name in names if isinstance(names, list) else []:
        room -= len(_to_json(name).encode()) + 1
        if room < 0:
            break
        first_names.append(name)
    commit = files.get("commit") if isinstance(files, dict) else None
    shortened = {"commit": truncate(commit, KB)} if isinstance(commit, str) else {}
    return _to_json(shortened | {"files": first_names, "truncated": True})


def _to_json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class TaskQuery(ListQuery):
    """The query of GET /api/tasks."""

    status: TaskStatus | None = None
    """Only tasks in this status."""
    agent_id: Id | None = None
    """Only tasks that this agent holds, that it held when they ended, or that wait and are pinned to it."""
    intent: Intent | None = None
    """Only tasks of this intent."""


MAX_BODY_BYTES = 384 * KB
"""How large the description and the context may be together, as they are stored. A row has at most 400 KB."""


def to_stored_context(context: dict[str, Any] | None) -> str | None:
    """The context as JSON. It can be longer than in the request: Python writes the number 1e15 with all its digits."""
    return None if context is None else _to_json(context)


def check_fits(description: str, stored_context: str | None) -> None:
    """Raise TooLarge if a row cannot have this description and context."""
    size = len(description.encode()) + len((stored_context or "").encode())
    if size > MAX_BODY_BYTES:
        raise TooLarge(
            f"The description and the context have {size} bytes as they are stored. "
            f"Send at most {MAX_BODY_BYTES // KB} KB. Numbers such as 1e15 are stored with all their digits."
        )


class TaskBody(InputModel):
    """The part of a submission that lists do not contain: the full description and the context."""

    description: str
    context: dict[str, Any] | None
