"""An agent as it is, and what follows from that alone. No I/O; time is an argument (epoch milliseconds)."""

from typing import Literal

from pydantic import Field

from chalicelib.settings import MINUTE, SECOND
from chalicelib.types import Entity

MOST_HELD = 20
"""How many tasks one agent may hold, claimed and running together."""

FASTEST_POLL = 5 * SECOND
SLOWEST_POLL = 30 * SECOND
BUSY_FOR = 10 * MINUTE
"""So long after its last work an agent polls at full speed."""

ACCOUNTED_AFTER = 60 * SECOND
SAME_HEARTBEAT = 5 * SECOND
"""Heartbeats are at least this far apart; closer ones are one, sent again."""

State = Literal["active", "inactive", "error"]
REMOVED = "removed"
"""The state of a removed agent's row, for as long as tasks that it held have to be found through it."""


class Held(Entity):
    """An agent's hold on one task, as its own row remembers it."""

    attempt: int
    timeout: int
    """For how long the task may run, in milliseconds."""
    claimed_at: int
    started_at: int | None = None
    cancel: bool = False
    step: str | None = None
    """The step reported last, cut: a new one is worth an event."""


class Said(Entity):
    """Which tasks an agent said it runs, and when."""

    at: int
    tasks: list[str]


class News(Entity):
    """An agent came or went, which is still to be told. `state` is what it is since then, `seen_at` its last sign of
    life."""

    event: Literal["agent.active", "agent.inactive"]
    at: int
    state: State
    seen_at: int


class Agent(Entity):
    owner: str
    id: str
    name: str
    version: str
    platform: str | None
    capabilities: list[str]
    concurrency: int | None
    state: State | Literal["removed"]
    reported: str | None = None
    """What the agent says of itself: `ready`, `busy`, `draining` ... (never mixed up with `state`)."""
    ver: str
    registration: str | None = None
    """The Idempotency-Key of the registration, hashed."""
    created_at: int
    updated_at: int
    seen_at: int
    worked_at: int
    machine: dict[str, float] = Field(default_factory=dict)
    """What the last heartbeat said of uptime, memory and so on."""
    held: dict[str, Held] = Field(default_factory=dict)
    pinned_at: int | None = None
    """When a task pinned to this agent last became claimable; None when there surely is none."""
    calls: dict[str, int] = Field(default_factory=dict)
    next_ver: str | None = None
    """The version of the token that the agent asked for itself, until it uses it."""
    paused: bool = False
    note: str | None = None
    """Why it is paused."""
    said: Said | None = None
    said_before: Said | None = None
    news: list[News] = Field(default_factory=list)

    def room(self, limit: int) -> int:
        """How many more tasks this agent may claim, if it asks for `limit` in all."""
        if self.paused or self.reported == "draining":
            return 0
        unstarted = sum(held.started_at is None for held in self.held.values())
        return max(0, min(limit - unstarted, (self.concurrency or MOST_HELD) - len(self.held)))

    def unaccounted(self) -> list[str]:
        """Tasks that it should run, but that two heartbeats in a row did not name, both a minute after the start.

        A heartbeat that was composed before the first progress, and arrives after it, thus does no harm; nor does one
        sent twice because its answer was lost.
        """
        now, before = self.said, self.said_before
        if now is None or before is None or now.at - before.at < SAME_HEARTBEAT:
            return []
        return [
            task
            for task, held in self.held.items()
            if held.started_at is not None
            and before.at > held.started_at + ACCOUNTED_AFTER
            and task not in now.tasks
            and task not in before.tasks
        ]

    def strays(self) -> list[str]:
        """Tasks that it says it runs and does not hold: it lost them, and has to stop."""
        return [] if self.said is None else [task for task in self.said.tasks if task not in self.held]

    def poll_interval(self, now: int) -> int:
        """Milliseconds until the next poll: quick with work or shortly after it, then slower and slower.

        From the tenth minute without work to the twentieth it grows from 5 s to 30 s. The reason is money: of what an
        idle agent costs, two thirds are API Gateway's price for its polls (docs/cost.md).
        """
        if self.held:
            return FASTEST_POLL
        idle = now - self.worked_at - BUSY_FOR
        return int(min(SLOWEST_POLL, max(FASTEST_POLL, FASTEST_POLL + idle / 24)))
