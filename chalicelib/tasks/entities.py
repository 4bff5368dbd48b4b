"""A task as it is: its head, the events that tell its life, and a change from one state to the next. No I/O."""

from typing import Any, Literal, NamedTuple

from chalicelib.core.models import Entity
from chalicelib.core.settings import HOUR
from chalicelib.core.text import fingerprint

TaskStatus = Literal["pending", "queued", "assigned", "in_progress", "completed", "failed", "cancelled"]
OPEN_STATUSES: frozenset[TaskStatus] = frozenset({"pending", "queued", "assigned", "in_progress"})
HELD_STATUSES: frozenset[TaskStatus] = frozenset({"assigned", "in_progress"})

DEFAULT_TIMEOUT = 2 * HOUR
DEFAULT_ATTEMPTS = 2
MAX_PRIORITY = 100
"""Priorities go from minus this to this; the higher, the sooner."""

TITLE_LENGTH = 200
"""How many characters of a text stand on the task's small head row; the whole text is in its body or result."""


class Task(Entity):
    """A task's head: its state, and all that lists show. Descriptions and results are rows of their own.

    Fields that an expectation does not know are None.
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
    """Who holds it, or held it when it ended; None while it waits."""
    pinned_agent_id: str | None = None
    """The only agent that may have it, if one was named."""
    priority: int = 0
    attempt: int = 1
    max_attempts: int = DEFAULT_ATTEMPTS
    timeout: int = DEFAULT_TIMEOUT
    progress: float = 0
    step: str | None = None
    details: str | None = None
    error: str | None = None
    cancel_at: int | None = None
    """When cancelling was asked for, while it ran."""
    retry_of: str | None = None
    request_digest: str | None = None
    """Of the submission, to know the same request again."""
    report_digest: str | None = None
    """Of the report that ended it, likewise."""
    sends: int = 1
    log_bytes: int = 0
    """How many bytes of log this attempt has sent."""
    earlier_log_bytes: int = 0
    """How many the attempts before it had."""
    final_log_appended: bool = False
    """Whether the log that came with the report of failure is in it."""
    created_at: int | None = None
    updated_at: int | None = None
    queued_at: int | None = None
    """When it began to wait for an agent, in this attempt; a claim that ran out does not begin it anew."""
    claimed_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None
    due: int | None = None
    """When the sweep must look at it, as long as it is open; None in an expectation: whatever it is."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES


def expected(owner: str, task_id: str, status: TaskStatus, *, agent_id: str, attempt: int, **known: Any) -> Task:
    """A task as its holder knows it, without reading it. What is not known is None, and never taken for a value."""
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
    """One line of a task's timeline. `detail` says what the type does not: a step, a reason."""

    type: str
    at: int
    status: TaskStatus
    attempt: int
    agent_id: str | None
    detail: str | None = None

    @property
    def key(self) -> str:
        """Sorts by time, and within a millisecond in the order of a life; the same whenever the same is told."""
        order = _ORDER_IN_MILLISECOND.get(self.type, 5)
        return f"{self.at:013d}#{order}#{self.attempt:03d}#{self.type[5:]}#{fingerprint(self.detail)[:6]}"

    @property
    def sequence(self) -> int:
        """Grows in the order of `key`: of two events of a task, the one with the greater is the later."""
        return self.at * 10 + _ORDER_IN_MILLISECOND.get(self.type, 5)

    @property
    def is_published(self) -> bool:
        """Whether somebody besides the timeline's readers wants to know."""
        return self.type in _PUBLISHED_TYPES


_ORDER_IN_MILLISECOND = {"task.created": 0, "task.queued": 1, "task.assigned": 2, "task.started": 3, "task.step": 4}
_PUBLISHED_TYPES = {"task.created", "task.started", "task.completed", "task.failed", "task.cancelled"}


class Transition(NamedTuple):
    before: Task
    after: Task
    event: TaskEvent | None
