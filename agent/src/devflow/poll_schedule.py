"""When an agent polls and when it beats: rules without any I/O; the loop acts on them."""

from dataclasses import dataclass, field
from enum import Enum

from devflow.backoff import compute_retry_delay
from devflow.intervals import Intervals

_JITTER = 0.1
"""Of the server's interval, so much sooner at most, so that a fleet does not poll in step: within the interval is what
the platform promises of a task that waits."""
_REQUIRED_HEARTBEATS = 3
"""Heartbeats after a start, and after work was given up. Two that do not name a task, both over a minute after it
began, tell the platform that it is lost; the first may come too soon for that."""


class Action(Enum):
    """What the loop does next."""

    HEARTBEAT = "beat"
    POLL = "poll"
    WAIT = "wait"


@dataclass
class PollSchedule:
    """All times in seconds of one clock that only grows."""

    intervals: Intervals
    created_at: float
    """When it was made."""
    draining: bool = False
    """Finish what runs, take nothing new."""
    next_poll_at: float = field(init=False)
    last_heartbeat_at: float | None = field(default=None, init=False)
    last_poll_at: float | None = field(default=None, init=False)
    heartbeats_owed: int = field(default=_REQUIRED_HEARTBEATS, init=False)
    failures: int = field(default=0, init=False)
    not_before: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.next_poll_at = self.created_at

    def next_action(self, now: float, *, running: int, free: int) -> tuple[Action, float]:
        """What to do now; with WAIT, for how many seconds at most.

        `running`: tasks that this agent stands for. `free`: how many more it could take.
        """
        beat_at = self._next_heartbeat_at(running)
        poll_at = self.next_poll_at if free > 0 and not self.draining else None
        # It beats first: a word said before ("disconnected") would let the poll find nothing.
        for act, at in ((Action.HEARTBEAT, beat_at), (Action.POLL, poll_at)):
            if at is not None and max(at, self.not_before) <= now:
                return act, 0.0
        due = [max(at, self.not_before) for at in (beat_at, poll_at) if at is not None]
        return Action.WAIT, (min(due) if due else now + self.intervals.heartbeat) - now

    def record_heartbeat(self, now: float) -> None:
        """A heartbeat was answered."""
        self.last_heartbeat_at, self.failures = now, 0
        self.heartbeats_owed = max(0, self.heartbeats_owed - 1)

    def record_poll(self, now: float, interval: float, chance: float) -> None:
        """A poll was answered: the next one within `interval` seconds, by `chance` (0 to 1) up to a tenth sooner."""
        self.last_poll_at, self.failures = now, 0
        self.next_poll_at = now + min(self.intervals.max_poll, interval * (1 - _JITTER * chance))

    def record_failure(self, now: float, chance: float, retry_after: float | None = None) -> float:
        """The platform could not answer; for how many seconds it is left alone."""
        self.failures += 1
        self.not_before = now + compute_retry_delay(self.failures, chance, retry_after)
        return self.not_before - now

    def poll_now(self, now: float) -> None:
        """A slot is free, or somebody knows of a task: poll at once."""
        self.next_poll_at = now

    def require_heartbeats(self) -> None:
        """Work was given up: the platform has to hear that it does not run here."""
        self.heartbeats_owed = _REQUIRED_HEARTBEATS

    def _next_heartbeat_at(self, running: int) -> float | None:
        """When the next heartbeat is due; None while polls say all there is to say."""
        if self.last_heartbeat_at is None:
            return self.created_at
        after = self.last_heartbeat_at + self.intervals.heartbeat
        if running or self.heartbeats_owed or self.draining:
            return after
        return max(after, (self.last_poll_at or self.created_at) + self.intervals.heartbeat)
