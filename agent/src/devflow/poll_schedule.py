"""When an agent polls and when it sends a heartbeat. These rules do no I/O; the agent worker acts on them."""

from dataclasses import dataclass, field
from enum import Enum

from devflow.backoff import compute_retry_delay
from devflow.intervals import Intervals

_JITTER = 0.1
"""A poll is early by up to this part of the interval, so that a fleet does not poll at the same moment. It is never
late, because the platform promises that a waiting task is polled for within the interval."""
_POLL_SOON_SECONDS = 1.0
_REQUIRED_HEARTBEATS = 3
"""Heartbeats to send after a start and after jobs were cancelled. The platform considers a task lost after two
heartbeats that do not name it, both more than a minute after it began. The first of the three may be too early."""


class Action(Enum):
    """What the worker does next."""

    HEARTBEAT = "heartbeat"
    POLL = "poll"
    WAIT = "wait"


@dataclass
class PollSchedule:
    """Decides the next action. All times are seconds of one clock that never goes back."""

    intervals: Intervals
    created_at: float
    draining: bool = False
    """Do not poll any more: the agent finishes its running tasks."""
    next_poll_at: float = field(init=False)
    last_heartbeat_at: float | None = field(default=None, init=False)
    last_poll_at: float | None = field(default=None, init=False)
    heartbeats_owed: int = field(default=_REQUIRED_HEARTBEATS, init=False)
    failures: int = field(default=0, init=False)
    """Failed requests in a row."""
    not_before: float = field(default=0.0, init=False)
    """The end of the current retry delay."""

    def __post_init__(self) -> None:
        self.next_poll_at = self.created_at

    def next_action(self, now: float, *, running: int, free: int) -> tuple[Action, float]:
        """Return what to do now. For WAIT, the second value is the longest time to wait, in seconds.

        `running` is the number of tasks that this agent runs or has unsent results of. `free` is the number of further
        tasks that it can start.
        """
        heartbeat_at = self._next_heartbeat_at(running)
        poll_at = self.next_poll_at if free > 0 and not self.draining else None
        # The heartbeat comes first: while the platform knows the agent as "disconnected", a poll returns no tasks.
        for action, at in ((Action.HEARTBEAT, heartbeat_at), (Action.POLL, poll_at)):
            if at is not None and max(at, self.not_before) <= now:
                return action, 0.0
        due = [max(at, self.not_before) for at in (heartbeat_at, poll_at) if at is not None]
        return Action.WAIT, (min(due) if due else now + self.intervals.heartbeat) - now

    def record_heartbeat(self, now: float) -> None:
        """Record a heartbeat that the platform accepted."""
        self.last_heartbeat_at, self.failures = now, 0
        self.heartbeats_owed = max(0, self.heartbeats_owed - 1)

    def record_poll(self, now: float, interval: float, jitter: float) -> None:
        """Record a successful poll. The next one is due in `interval` seconds, minus jitter of up to a tenth.

        `jitter` is between 0 and 1.
        """
        self.last_poll_at, self.failures = now, 0
        self.next_poll_at = now + min(self.intervals.max_poll, interval * (1 - _JITTER * jitter))

    def record_failure(self, now: float, jitter: float, retry_after: float | None = None) -> float:
        """Record that the platform was unavailable. Returns the seconds until the next request."""
        self.failures += 1
        self.not_before = now + compute_retry_delay(self.failures, jitter, retry_after)
        return self.not_before - now

    def poll_now(self, now: float) -> None:
        """Make a poll due now, because a job has ended or a task is waiting."""
        self.next_poll_at = now

    def poll_soon(self, now: float) -> None:
        """Make a poll due in a moment, because the last one returned a task that was just starting."""
        self.next_poll_at = min(self.next_poll_at, now + _POLL_SOON_SECONDS)

    def require_heartbeats(self) -> None:
        """Send heartbeats even when idle, because jobs were cancelled and the platform must learn of it."""
        self.heartbeats_owed = _REQUIRED_HEARTBEATS

    def _next_heartbeat_at(self, running: int) -> float | None:
        """Return when the next heartbeat is due. While the agent is idle, polls replace heartbeats."""
        if self.last_heartbeat_at is None:
            return self.created_at
        due_at = self.last_heartbeat_at + self.intervals.heartbeat
        if running or self.heartbeats_owed or self.draining:
            return due_at
        return max(due_at, (self.last_poll_at or self.created_at) + self.intervals.heartbeat)
