"""Entities: an agent, its claims and its status events. No I/O; time is an argument (epoch milliseconds)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from chalicelib.core.models import Entity
from chalicelib.core.settings import MINUTE, SECOND

MAX_CLAIMS = 20
"""How many tasks an agent may hold at most, claimed and running together."""

MIN_POLL_INTERVAL = 5 * SECOND
MAX_POLL_INTERVAL = 30 * SECOND
PINNED_CHECK_INTERVAL = 5 * MINUTE
"""How often, on average, polls look for a pinned task that the index did not contain a minute after it was queued."""
FAST_POLLING_TIME = 10 * MINUTE
"""How long after its last work an agent continues to poll at the shortest interval."""

MISSING_AFTER = 60 * SECOND
"""How long after the start of a task a heartbeat must list it."""
MIN_HEARTBEAT_GAP = 5 * SECOND
"""Two heartbeats that are closer together than this are treated as the same one, sent twice."""

AgentState = Literal["active", "inactive", "error"]
REMOVED = "removed"
"""The state of a removed agent's row (a tombstone). The row is kept until its claims are released."""


class Claim(Entity):
    """An agent's claim on a task, started or not, as it is stored on the agent's row."""

    attempt: int
    timeout: int
    """How long an attempt may run, in milliseconds."""
    claimed_at: int
    started_at: int | None = None
    cancel: bool = False
    """Whether a cancellation of the running task was requested."""
    step: str | None = None
    """A fingerprint of the last reported step, to detect a new one."""


class ReportedTasks(Entity):
    """The tasks that a heartbeat listed as running, and the time of the heartbeat."""

    at: int
    task_ids: list[str]
    process_id: str | None = None
    """The id of the process that sent the heartbeat. None if the heartbeat had none."""


class StatusEvent(Entity):
    """An agent became active or inactive, or renewed its token. The event is stored on the agent's row until it is
    published.

    `state` is the agent's state since then, and `seen_at` the time of its last check-in.
    """

    event: Literal["agent.active", "agent.inactive", "agent.token_renewed"]
    at: int
    state: AgentState
    seen_at: int

    @property
    def sequence(self) -> int:
        """A number that grows with time. A renewal that made the agent active comes after that event."""
        return self.at * 10 + (self.event == "agent.token_renewed")


class Agent(Entity):
    """An agent. All times are epoch milliseconds."""

    owner: str
    id: str
    name: str
    version: str
    platform: str | None
    capabilities: list[str]
    permitted_capabilities: list[str] | None = None
    """The capabilities that the agent may declare, if a registration token has limited them. None: any."""
    concurrency: int | None
    state: AgentState | Literal["removed"]
    reported_status: str | None = None
    """The status that the agent reported: `ready`, `busy`, `draining` or another word. Independent of `state`."""
    ver: str
    """The version of the agent's token. A token with another version, except `next_ver`, is revoked."""
    registration: str | None = None
    """`<digest of the Idempotency-Key>.<digest of the request>` of the registration. None if it had no key."""
    created_at: int
    updated_at: int
    seen_at: int
    """The time of the last check-in."""
    worked_at: int
    """When the agent last claimed or ended a task."""
    machine: dict[str, float] = Field(default_factory=dict)
    """The machine metrics of the last heartbeat that had any: uptime, memory and so on."""
    claims: dict[str, Claim] = Field(default_factory=dict)
    pinned_at: int | None = None
    """When a task that is pinned to this agent last became claimable. None if a poll a minute later found none."""
    pinned_until: int | None = None
    """Until when a pinned task that was claimable at `pinned_at` can still wait, although polls did not find it: the
    index of queued tasks may be behind. None if `pinned_at` was never removed."""
    calls: dict[str, int] = Field(default_factory=dict)
    """The number of calls by rate limit and minute."""
    next_ver: str | None = None
    """The version of a token that the agent requested for itself and has not used yet. It lapses if it stays unused."""
    paused: bool = False
    note: str | None = None
    """Why it is paused."""
    repos: list[str] = Field(default_factory=list)
    """Rule of the user: patterns of the repositories whose tasks the agent may claim. Empty: all repositories."""
    submitters: list[str] = Field(default_factory=list)
    """Rule of the user: the ids of the users whose tasks the agent may claim. Empty: all users who may submit."""
    rules_version: str | None = None
    """Changes whenever `repos` or `submitters` are set. A claim expects it to be unchanged. None if they never were."""
    search_positions: dict[str, str] = Field(default_factory=dict)
    """Where the last search of a long queue ended, by queue. Only agents with rules have such positions."""
    last_reported_tasks: ReportedTasks | None = None
    previous_reported_tasks: ReportedTasks | None = None
    earlier_process_id: str | None = None
    """The id of the process that sent the heartbeat before the previous one. None if it had none."""
    status_events: list[StatusEvent] = Field(default_factory=list)

    @property
    def has_rules(self) -> bool:
        """Whether a rule of the user restricts the tasks that the agent may claim."""
        return bool(self.repos or self.submitters)

    @property
    def is_draining(self) -> bool:
        """Whether the agent finishes its tasks and then stops."""
        return self.reported_status == "draining"

    @property
    def is_full(self) -> bool:
        """Whether the agent holds as many tasks as its concurrency allows."""
        return len(self.claims) >= (self.concurrency or MAX_CLAIMS)

    def free_slots(self, limit: int) -> int:
        """How many more tasks this agent may claim in a poll for at most `limit` unstarted claims."""
        if self.paused or self.is_draining:
            return 0
        unstarted = sum(claim.started_at is None for claim in self.claims.values())
        return max(0, min(limit - unstarted, (self.concurrency or MAX_CLAIMS) - len(self.claims)))

    def looks_for_pinned_tasks(self, now: int, chance: float) -> bool:
        """Whether a poll looks for tasks that are pinned to this agent. `chance` is a random number from 0 to below 1.

        Every poll does while such a task may have become claimable recently. After that, some polls do, as long as a
        task may wait that the index did not contain in time. So an idle poll of most agents needs no further request.
        """
        if self.pinned_at is not None:
            return True
        may_wait = self.pinned_until is not None and now < self.pinned_until
        return may_wait and chance * PINNED_CHECK_INTERVAL < self.poll_interval(now)

    def has_restarted(self) -> bool:
        """Whether the last heartbeat is the first one of a new process, as its `processId` shows.

        A heartbeat of an ended process that arrives late, after the first one of the new process, is none.
        """
        last, previous = self.last_reported_tasks, self.previous_reported_tasks
        if last is None or last.process_id is None or previous is None or not previous.at:
            return False
        return last.process_id not in (previous.process_id, self.earlier_process_id)

    def missing_tasks(self) -> list[str]:
        """Running tasks that the first heartbeat of a new process does not list: an earlier process started them.

        Without a new process, running tasks that the last two heartbeats did not list, both more than a minute after
        the start. The minute covers a heartbeat that was composed before the first progress report and arrives after
        it. The minimum gap covers a heartbeat that was sent twice because its response was lost.
        """
        last, previous = self.last_reported_tasks, self.previous_reported_tasks
        if last is not None and self.has_restarted():
            started = [task_id for task_id, claim in self.claims.items() if claim.started_at is not None]
            return [task_id for task_id in started if task_id not in last.task_ids]
        if last is None or previous is None or last.at - previous.at < MIN_HEARTBEAT_GAP:
            return []
        return [
            task_id
            for task_id, claim in self.claims.items()
            if claim.started_at is not None
            and previous.at > claim.started_at + MISSING_AFTER
            and task_id not in last.task_ids
            and task_id not in previous.task_ids
        ]

    def unknown_tasks(self) -> list[str]:
        """Tasks that the agent reports as running and does not hold. It must stop them."""
        return (
            []
            if self.last_reported_tasks is None
            else [task_id for task_id in self.last_reported_tasks.task_ids if task_id not in self.claims]
        )

    def poll_interval(self, now: int) -> int:
        """Milliseconds until the next poll: 5 s while the agent holds tasks, and for ten minutes after its last work.

        Between the tenth and the twentieth minute without work it grows from 5 s to 30 s. This limits the cost: two
        thirds of the cost of an idle agent are API Gateway's price for its polls (docs/cost.md).
        """
        if self.claims:
            return MIN_POLL_INTERVAL
        idle = now - self.worked_at - FAST_POLLING_TIME
        return int(min(MAX_POLL_INTERVAL, max(MIN_POLL_INTERVAL, MIN_POLL_INTERVAL + idle / 24)))


class FleetSample(NamedTuple):
    """Those of an owner's agents that accept an intent, as far as they were examined, in the order of their ids."""

    examined: int
    """How many agents were examined at most. 0: the owner has no agent."""
    accepting: Sequence[str]
    """The ids of the agents that accept the intent."""
    online: Sequence[Agent]
    """The first ones of these that are online."""
    has_more: bool
    """Whether there may be more agents that are online and accept the intent."""
