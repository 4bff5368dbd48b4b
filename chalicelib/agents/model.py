"""Agents: their shapes and rules. No I/O; time is an argument (epoch milliseconds)."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, computed_field, field_validator

from chalicelib.errors import AgentExists, Conflict
from chalicelib.outage import Outage
from chalicelib.pages import Listing, ListQuery
from chalicelib.settings import MINUTE, SECOND
from chalicelib.times import iso
from chalicelib.types import Entity, Id, Instant, Reply, Request

INACTIVE_AFTER = 150 * SECOND
LOST_AFTER = 10 * MINUTE
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
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Capability = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Capabilities = Annotated[list[Capability], Field(max_length=32)]
Concurrency = Annotated[int, Field(ge=1, le=MOST_HELD)]
DEFAULT_CAPABILITIES = ["fix-bug", "feature", "explain", "review-pr"]


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
        idle agent costs, nine tenths are API Gateway's price for its polls.
        """
        if self.held:
            return FASTEST_POLL
        idle = now - self.worked_at - BUSY_FOR
        return int(min(SLOWEST_POLL, max(FASTEST_POLL, FASTEST_POLL + idle / 24)))


TOLD_WITHIN = MINUTE
"""So long after it was written the sweep takes up news that is still to be told; a message does so before."""


def came(state: State, now: int) -> News:
    """An agent is there (again)."""
    return News(event="agent.active", at=now, state=state, seen_at=now)


def went(seen_at: int, now: int) -> News:
    """An agent fell silent, or said that it goes."""
    return News(event="agent.inactive", at=now, state="inactive", seen_at=seen_at)


def told(agent: Agent, news: News) -> dict[str, str]:
    """What webhooks tell of an agent that came or went."""
    return {
        "agentId": agent.id,
        "userId": agent.owner,
        "name": agent.name,
        "status": news.state,
        "lastHeartbeat": iso(news.seen_at),
        "changedAt": iso(news.at),
    }


def check_at(seen_at: int) -> int:
    """When the sweep must look at an agent that was last seen then: coarse, so that the index moves once a minute.

    Everything that is due by this is stale: the end of the minute of the last sign of life, plus 150 s.
    """
    return (seen_at // MINUTE + 1) * MINUTE + INACTIVE_AFTER


def silent(agent: Agent, now: int, outage: Outage | None = None) -> Literal["alive", "inactive", "lost"]:
    """What an agent's silence makes of it, an outage of our own not counted."""
    if now >= deadline(agent, LOST_AFTER, outage):
        return "lost"
    return "inactive" if now >= deadline(agent, INACTIVE_AFTER, outage) else "alive"


def deadline(agent: Agent, after: int, outage: Outage | None) -> int:
    """When an agent has been silent for so long."""
    due = agent.seen_at + after
    return due if outage is None else outage.moved(agent.seen_at, due)


class Register(Request):
    """The spec's body of POST /api/agents; `userId` is ignored: the token says whose the agent is."""

    agent_id: Id
    name: Name
    version: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    platform: Annotated[str, StringConstraints(max_length=64)] | None = None
    capabilities: Capabilities = DEFAULT_CAPABILITIES
    concurrency: Concurrency | None = None
    replace: bool = False
    """Register an agent that is there already anew: its old token dies, and what it ran counts as lost."""

    @field_validator("capabilities")
    @classmethod
    def _once(cls, capabilities: list[str]) -> list[str]:
        return list(dict.fromkeys(capabilities))


Figure = Annotated[float, Field(ge=0, le=1e15)]


class Heartbeat(Request):
    """Every field is optional. The machine's figures are kept, rounded, and shown with the agent."""

    status: Annotated[str, StringConstraints(max_length=32)] | None = None
    uptime: Figure | None = None
    task_count: Figure | None = None
    memory_usage: Figure | None = None
    cpu_usage: Figure | None = None
    version: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)] | None = None
    capabilities: Capabilities | None = None
    concurrency: Concurrency | None = None

    task_ids: Annotated[list[Id], Field(max_length=100)] | None = None
    """What it runs."""
    instance_id: Id | None = None
    """The process: a second live one of the same agent is refused."""

    def state(self) -> State | None:
        """What its status says of it: `error`, and `disconnected` (it goes away), have a meaning of their own."""
        if self.status is None:
            return None
        if self.status == "disconnected":
            return "inactive"
        return "error" if self.status == "error" else "active"

    def machine(self) -> dict[str, float]:
        """The figures that were sent, under the spec's names."""
        given = {
            "uptime": self.uptime,
            "taskCount": self.task_count,
            "memoryUsage": self.memory_usage,
            "cpuUsage": self.cpu_usage,
        }
        return {name: round(value, 3) for name, value in given.items() if value is not None}


class Patch(Request):
    """Rename an agent, or pause and resume it, with a note that says why."""

    name: Name | None = None
    paused: bool | None = None
    note: Annotated[str, StringConstraints(max_length=500)] | None = None


class AgentQuery(ListQuery):
    status: State | None = None
    capability: Capability | None = None


class AgentReply(Reply):
    """An agent, as the spec shows it."""

    id: str
    user_id: str
    name: str
    status: State
    version: str
    platform: str | None
    capabilities: list[str]
    last_heartbeat: Instant
    created_at: Instant
    updated_at: Instant
    concurrency: int | None
    reported_status: str | None
    machine: dict[str, float]
    paused: bool
    note: str | None
    holding: list[str]
    """Ids of the tasks it has claimed or runs."""


class AgentListing(Listing[AgentReply]):
    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def agents(self) -> list[AgentReply]:
        """The same as `data`: the spec shows both shapes."""
        return self.data


class Registered(Reply):
    success: bool = True
    agent: AgentReply
    token: str


class Removed(Reply):
    success: bool = True
    agent_id: str


class Beaten(Reply):
    """The spec's answer to a heartbeat, plus what is to stop and how the platform sees the agent."""

    success: bool = True
    next_poll_interval: int
    """Milliseconds."""
    status: State
    cancel: list[str]
    """Ids of tasks to stop."""


def shown(agent: Agent) -> AgentReply:
    return AgentReply(
        id=agent.id,
        user_id=agent.owner,
        name=agent.name,
        status="inactive" if agent.state == "removed" else agent.state,
        version=agent.version,
        platform=agent.platform,
        capabilities=agent.capabilities,
        last_heartbeat=iso(agent.seen_at),
        created_at=iso(agent.created_at),
        updated_at=iso(agent.updated_at),
        concurrency=agent.concurrency,
        reported_status=None if agent.state == "active" and agent.reported == "disconnected" else agent.reported,
        machine=agent.machine,
        paused=agent.paused,
        note=agent.note,
        holding=sorted(agent.held),
    )


def beaten(agent: Agent, now: int) -> Beaten:
    return Beaten(
        next_poll_interval=agent.poll_interval(now),
        status="inactive" if agent.state == "removed" else agent.state,
        cancel=sorted({*agent.strays(), *(task for task, held in agent.held.items() if held.cancel)}),
    )


REPEATABLE_FOR = 10 * MINUTE
"""So long the same Idempotency-Key registers the same agent again."""


class OtherRegistration(Conflict):
    """This Idempotency-Key was used with another registration; use a new one."""


def check_same_registration(standing: Agent, registration: str | None, now: int) -> None:
    """Raises AgentExists unless the agent that stands was just registered under the same key; OtherRegistration if that
    was with another request. A registration is `<digest of the key>.<digest of the request>`."""
    if registration is None or standing.registration is None or now - standing.created_at > REPEATABLE_FOR:
        raise AgentExists
    if standing.registration.partition(".")[0] != registration.partition(".")[0]:
        raise AgentExists
    if standing.registration != registration:
        raise OtherRegistration
