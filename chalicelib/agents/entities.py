"""An agent as it is, and what follows from that alone. No I/O; time is an argument (epoch milliseconds)."""

from typing import Literal

from pydantic import Field

from chalicelib.core.models import Entity
from chalicelib.core.settings import MINUTE, SECOND

MAX_CLAIMS = 20
"""How many tasks one agent may hold, claimed and running together."""

MIN_POLL_INTERVAL = 5 * SECOND
MAX_POLL_INTERVAL = 30 * SECOND
FAST_POLLING_TIME = 10 * MINUTE
"""So long after its last work an agent polls at full speed."""

MISSING_AFTER = 60 * SECOND
MIN_HEARTBEAT_GAP = 5 * SECOND
"""Heartbeats are at least this far apart; closer ones are one, sent again."""

AgentState = Literal["active", "inactive", "error"]
REMOVED = "removed"
"""The state of a removed agent's row, for as long as tasks that it held have to be found through it."""


class Claim(Entity):
    """An agent's hold on one task, as its own row remembers it."""

    attempt: int
    timeout: int
    """For how long the task may run, in milliseconds."""
    claimed_at: int
    started_at: int | None = None
    cancel: bool = False
    step: str | None = None
    """The step reported last, cut: a new one is worth an event."""


class ReportedTasks(Entity):
    """Which tasks an agent said it runs, and when."""

    at: int
    task_ids: list[str]


class StatusEvent(Entity):
    """An agent came or went, which is still to be told. `state` is what it is since then, `seen_at` its last sign of
    life."""

    event: Literal["agent.active", "agent.inactive"]
    at: int
    state: AgentState
    seen_at: int


class Agent(Entity):
    owner: str
    id: str
    name: str
    version: str
    platform: str | None
    capabilities: list[str]
    concurrency: int | None
    state: AgentState | Literal["removed"]
    reported_status: str | None = None
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
    claims: dict[str, Claim] = Field(default_factory=dict)
    pinned_at: int | None = None
    """When a task pinned to this agent last became claimable; None when there surely is none."""
    calls: dict[str, int] = Field(default_factory=dict)
    next_ver: str | None = None
    """The version of the token that the agent asked for itself, until it uses it."""
    paused: bool = False
    note: str | None = None
    """Why it is paused."""
    last_reported_tasks: ReportedTasks | None = None
    previous_reported_tasks: ReportedTasks | None = None
    status_events: list[StatusEvent] = Field(default_factory=list)

    def free_slots(self, limit: int) -> int:
        """How many more tasks this agent may claim, if it asks for `limit` in all."""
        if self.paused or self.reported_status == "draining":
            return 0
        unstarted = sum(held.started_at is None for held in self.claims.values())
        return max(0, min(limit - unstarted, (self.concurrency or MAX_CLAIMS) - len(self.claims)))

    def missing_tasks(self) -> list[str]:
        """Tasks that it should run, but that two heartbeats in a row did not name, both a minute after the start.

        A heartbeat that was composed before the first progress, and arrives after it, thus does no harm; nor does one
        sent twice because its answer was lost.
        """
        now, before = self.last_reported_tasks, self.previous_reported_tasks
        if now is None or before is None or now.at - before.at < MIN_HEARTBEAT_GAP:
            return []
        return [
            task_id
            for task_id, held in self.claims.items()
            if held.started_at is not None
            and before.at > held.started_at + MISSING_AFTER
            and task_id not in now.task_ids
            and task_id not in before.task_ids
        ]

    def unknown_tasks(self) -> list[str]:
        """Tasks that it says it runs and does not hold: it lost them, and has to stop."""
        return (
            []
            if self.last_reported_tasks is None
            else [task_id for task_id in self.last_reported_tasks.task_ids if task_id not in self.claims]
        )

    def poll_interval(self, now: int) -> int:
        """Milliseconds until the next poll: quick with work or shortly after it, then slower and slower.

        From the tenth minute without work to the twentieth it grows from 5 s to 30 s. The reason is money: of what an
        idle agent costs, two thirds are API Gateway's price for its polls (docs/cost.md).
        """
        if self.claims:
            return MIN_POLL_INTERVAL
        idle = now - self.worked_at - FAST_POLLING_TIME
        return int(min(MAX_POLL_INTERVAL, max(MIN_POLL_INTERVAL, MIN_POLL_INTERVAL + idle / 24)))
