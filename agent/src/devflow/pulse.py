"""When an agent polls and when it beats: rules without any I/O; the loop acts on them."""

from dataclasses import dataclass, field
from enum import Enum

from devflow.backoff import pause
from devflow.pace import Pace

_JITTER = 0.1
"""Of the server's interval, so much sooner at most, so that a fleet does not poll in step: within the interval is what
the platform promises of a task that waits."""
_OWED = 3
"""Heartbeats after a start, and after work was given up. Two that do not name a task, both over a minute after it
began, tell the platform that it is lost; the first may come too soon for that."""


class Act(Enum):
    """What the loop does next."""

    BEAT = "beat"
    POLL = "poll"
    WAIT = "wait"


@dataclass
class Pulse:
    """All times in seconds of one clock that only grows."""

    pace: Pace
    now: float
    """When it was made."""
    draining: bool = False
    """Finish what runs, take nothing new."""
    poll_at: float = field(init=False)
    beaten: float | None = field(default=None, init=False)
    polled: float | None = field(default=None, init=False)
    owed: int = field(default=_OWED, init=False)
    failures: int = field(default=0, init=False)
    not_before: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.poll_at = self.now

    def next(self, now: float, *, running: int, free: int) -> tuple[Act, float]:
        """What to do now; with WAIT, for how many seconds at most.

        `running`: tasks that this agent stands for. `free`: how many more it could take.
        """
        beat_at = self._beat_at(running)
        poll_at = self.poll_at if free > 0 and not self.draining else None
        # It beats first: a word said before ("disconnected") would let the poll find nothing.
        for act, at in ((Act.BEAT, beat_at), (Act.POLL, poll_at)):
            if at is not None and max(at, self.not_before) <= now:
                return act, 0.0
        due = [max(at, self.not_before) for at in (beat_at, poll_at) if at is not None]
        return Act.WAIT, (min(due) if due else now + self.pace.beat) - now

    def beat(self, now: float) -> None:
        """A heartbeat was answered."""
        self.beaten, self.failures = now, 0
        self.owed = max(0, self.owed - 1)

    def poll(self, now: float, interval: float, chance: float) -> None:
        """A poll was answered: the next one within `interval` seconds, by `chance` (0 to 1) up to a tenth sooner."""
        self.polled, self.failures = now, 0
        self.poll_at = now + min(self.pace.poll, interval * (1 - _JITTER * chance))

    def fail(self, now: float, chance: float, retry_after: float | None = None) -> float:
        """The platform could not answer; for how many seconds it is left alone."""
        self.failures += 1
        self.not_before = now + pause(self.failures, chance, retry_after)
        return self.not_before - now

    def hurry(self, now: float) -> None:
        """A slot is free, or somebody knows of a task: poll at once."""
        self.poll_at = now

    def owe(self) -> None:
        """Work was given up: the platform has to hear that it does not run here."""
        self.owed = _OWED

    def _beat_at(self, running: int) -> float | None:
        """When the next heartbeat is due; None while polls say all there is to say."""
        if self.beaten is None:
            return self.now
        after = self.beaten + self.pace.beat
        if running or self.owed or self.draining:
            return after
        return max(after, (self.polled or self.now) + self.pace.beat)
