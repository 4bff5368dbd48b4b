"""Entities: a task (its head), an event of its timeline, and a transition from one state to another. No I/O."""

from typing import Any, Literal, NamedTuple

from chalicelib.core.models import Entity
from chalicelib.core.settings import HOUR
from chalicelib.core.text import fingerprint

TaskStatus = Literal["pending", "queued", "assigned", "in_progress", "completed", "failed", "cancelled"]
OPEN_STATUSES: frozenset[TaskStatus] = frozenset({"pending", "queued", "assigned", "in_progress"})
HELD_STATUSES: frozenset[TaskStatus] = frozenset({"assigned", "in_progress"})
"""The statuses in which an agent holds the task."""

DEFAULT_TIMEOUT = 2 * HOUR
MAX_TIMEOUT = 24 * HOUR
DEFAULT_ATTEMPTS = 2
MAX_ATTEMPTS = 10
MAX_PRIORITY = 100
"""Priorities range from `-MAX_PRIORITY` to `MAX_PRIORITY`. Tasks with a higher priority are claimed first."""

TITLE_LENGTH = 200
"""The number of characters of the description that the head row stores. The body row stores the full description."""


class Task(Entity):
    """A task's head: its state, and everything that lists contain. The description and the result are separate rows.

    In an expectation (`expected`), fields that are not known are None. All times are epoch milliseconds, and
    `timeout` is a duration in milliseconds.
    """

    owner: str
    id: str
    status: TaskStatus
    intent: str | None = None
    repo: str | None = None
    branch: str | None = None
    title: str | None = None
    """The beginning of the description."""
    agent_id: str | None = None
    """The agent that holds the task, or held it when it ended. None while the task waits."""
    pinned_agent_id: str | None = None
    """The only agent that may claim the task. None if any agent may."""
    submitted_by: str | None = None
    """The id of the user who submitted the task. None for a task of version 0.1.0."""
    priority: int = 0
    attempt: int = 1
    max_attempts: int = DEFAULT_ATTEMPTS
    timeout: int = DEFAULT_TIMEOUT
    progress: float = 0
    step: str | None = None
    details: str | None = None
    error: str | None = None
    cancel_at: int | None = None
    """When a cancellation of the running task was requested."""
    retry_of: str | None = None
    request_digest: str | None = None
    """The digest of the submission. It identifies a repeated request."""
    report_digest: str | None = None
    """The digest of the report that ended the task. It identifies a repeated report."""
    log_bytes: int = 0
    """The size of this attempt's log in bytes."""
    earlier_log_bytes: int = 0
    """The total size of the logs of earlier attempts in bytes."""
    log_end: int | None = None
    """The size that the last attempt's log will have, as its agent reported at the end. None if it did not."""
    final_log_appended: bool = False
    """Whether the log contains the text that came with the report of failure."""
    log_closed: bool = False
    """Whether the log was cut in this attempt, because the owner's quota of bytes was used up."""
    created_at: int | None = None
    updated_at: int | None = None
    queued_at: int | None = None
    """When the task was queued in this attempt. An expired claim does not change it."""
    claimed_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None
    due: int | None = None
    """When the sweep must next process the task. None if the task has ended, and in an expectation if unknown."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def submitter(self) -> str:
        """The id of the user who submitted the task. Until version 0.1.0 only the owner could."""
        return self.submitted_by or self.owner


def expected(owner: str, task_id: str, status: TaskStatus, *, agent_id: str, attempt: int, **known: Any) -> Task:
    """A task as the agent that holds it expects it to be, built without reading the task.

    `known` are further fields. A field that is not known is None, and None is not treated as its value.
    """
    values: dict[str, Any] = {
        "owner": owner,
        "id": task_id,
        "status": status,
        "agent_id": agent_id,
        "attempt": attempt,
        "progress": None,
    }
    return Task.model_construct(**(values | known))


class TaskEvent(NamedTuple):
    """An entry of a task's timeline. `detail` adds a step, an error or a reason."""

    type: str
    at: int
    status: TaskStatus
    attempt: int
    agent_id: str | None
    detail: str | None = None
    result_bytes: int | None = None
    """The size of the result, if this is the end of a task. None for events of versions that did not store it."""

    @property
    def key(self) -> str:
        """The sort key: by time, then in the order of a task's lifecycle. It is the same for the same event."""
        order = _ORDER_IN_MILLISECOND.get(self.type, 5)
        return f"{self.at:013d}#{order}#{self.attempt:03d}#{self.type[5:]}#{fingerprint(self.detail)[:6]}"

    @property
    def sequence(self) -> int:
        """A number that grows in the order of `key`. Of two events of a task, the later one has the greater number."""
        return self.at * 10 + _ORDER_IN_MILLISECOND.get(self.type, 5)

    @property
    def needs_publishing(self) -> bool:
        """Whether the event is published to webhooks. All events are in the timeline."""
        return self.type in _PUBLISHED_TYPES


def is_end_key(key: str) -> bool:
    """Whether this is the `key` of an event that ends a task."""
    _, _, _, name, *_ = [*key.split("#"), "", "", "", ""]
    return f"task.{name}" in _ENDING_TYPES


_ORDER_IN_MILLISECOND = {"task.created": 0, "task.queued": 1, "task.assigned": 2, "task.started": 3, "task.step": 4}
_ENDING_TYPES = {"task.completed", "task.failed", "task.cancelled"}
_PUBLISHED_TYPES = {"task.created", "task.started", *_ENDING_TYPES}


class Transition(NamedTuple):
    """A change of a task, and the event that describes it. None if the change has no event."""

    before: Task
    after: Task
    event: TaskEvent | None
