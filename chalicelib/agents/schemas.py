"""Requests and responses about agents."""

from typing import Annotated

from pydantic import Field, StringConstraints, computed_field, field_validator

from chalicelib.agents.entities import MAX_CLAIMS, Agent, AgentState
from chalicelib.core.models import Capabilities, Capability, Id, InputModel, Instant, OutputModel
from chalicelib.core.repo_patterns import RepoPatterns
from chalicelib.core.timestamps import iso
from chalicelib.http.pagination import ListQuery, ListResponse

AgentName = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CLAIMS)]
Submitters = Annotated[list[Id], Field(min_length=1, max_length=50)]
RESERVED_ID = "registration-tokens"
"""Not an agent's id, because /api/agents/registration-tokens is another resource."""
DEFAULT_CAPABILITIES = ["fix-bug", "feature", "explain", "review-pr"]


class RegisterAgentRequest(InputModel):
    """The body of POST /api/agents. The specification's `userId` is ignored: the token identifies the user."""

    agent_id: Id
    """Chosen by the client, unique among the user's agents, and the same after a restart."""
    name: AgentName
    """Displayed to people."""
    version: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    """The version of the agent's program."""
    platform: Annotated[str, StringConstraints(max_length=64)] | None = None
    """`darwin`, `linux`, `win32` or another word. Displayed to people."""
    capabilities: Capabilities = DEFAULT_CAPABILITIES
    """The intents that the agent accepts. An empty list: none."""
    concurrency: Concurrency | None = None
    """How many tasks the agent holds at most, claimed and running together. 20 if absent."""
    replace: bool = False
    """Register an id that exists again: its old token stops working, and the tasks that ran under it count as lost."""
    repos: RepoPatterns | None = None
    """The repositories whose tasks the agent may claim: patterns such as `https://github.com/acme/*`. All if absent;
    with `replace`, those of before."""
    submitters: Submitters | None = None
    """The ids of the users whose tasks the agent may claim. All who may submit if absent; with `replace`, those of
    before."""

    @field_validator("agent_id")
    @classmethod
    def _is_not_reserved(cls, agent_id: str) -> str:
        if agent_id == RESERVED_ID:
            raise ValueError(f"{RESERVED_ID} is part of an address of the API. Choose another id.")
        return agent_id

    @field_validator("capabilities", "submitters")
    @classmethod
    def _once(cls, values: list[str] | None) -> list[str] | None:
        return values and list(dict.fromkeys(values))

    def given_rules(self) -> dict[str, list[str]]:
        """The rules in this request, by the names of the agent's fields."""
        return {name: value for name, value in (("repos", self.repos), ("submitters", self.submitters)) if value}

    def content(self) -> dict[str, object]:
        """What identifies the request. A request without rules has the same content as in earlier versions."""
        return self.model_dump(exclude={"repos", "submitters"}) | self.given_rules()


MachineMetric = Annotated[float, Field(ge=0, le=1e15)]


class HeartbeatRequest(InputModel):
    """The body of a heartbeat. Every field is optional. The machine metrics are stored, rounded, with the agent."""

    status: Annotated[str, StringConstraints(max_length=32)] | None = None
    """What the agent reports about itself: `draining`, `disconnected`, `error`, or any other word."""
    uptime: MachineMetric | None = None
    """Seconds that the agent has run. Displayed to people, like the next three; stored with three decimals."""
    task_count: MachineMetric | None = None
    """How many tasks it runs."""
    memory_usage: MachineMetric | None = None
    """Memory in use. The dashboard displays it in MB."""
    cpu_usage: MachineMetric | None = None
    """Processor in use. The dashboard displays it in percent."""
    version: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)] | None = None
    """Replaces the registered version."""
    capabilities: Capabilities | None = None
    """Replaces the registered list. An empty list: none."""
    concurrency: Concurrency | None = None
    """Replaces the registered number."""

    task_ids: Annotated[list[Id], Field(max_length=100)] | None = None
    """The ids of all tasks that the agent runs."""
    instance_id: Id | None = None
    """An id of this process. While it is live, a heartbeat with another `instanceId` gets 409."""
    process_id: Id | None = None
    """An id that the program chooses anew at each start. Running tasks of an earlier process that are not in `taskIds`
    count as lost at once."""

    def state(self) -> AgentState | None:
        """The state that follows from the reported status. None if no status was reported.

        `disconnected` means inactive and `error` means error. Any other status means active.
        """
        if self.status is None:
            return None
        if self.status == "disconnected":
            return "inactive"
        return "error" if self.status == "error" else "active"

    def machine(self) -> dict[str, float]:
        """The machine metrics in this heartbeat, by the specification's names."""
        given = {
            "uptime": self.uptime,
            "taskCount": self.task_count,
            "memoryUsage": self.memory_usage,
            "cpuUsage": self.cpu_usage,
        }
        return {name: round(value, 3) for name, value in given.items() if value is not None}


class RenewTokenRequest(InputModel):
    """The body of POST /api/agents/{id}/token. It may be absent."""

    instance_id: Id | None = None
    """The `instanceId` of the agent's heartbeats. Required with the agent's own token while its instance is live."""


class UpdateAgentRequest(InputModel):
    """A change of an agent: rename it, or pause or resume it, with a note that explains why."""

    name: AgentName | None = None
    """Displayed to people."""
    paused: bool | None = None
    """`true`: the agent gets no new tasks and keeps those that it holds. `false`: it gets tasks again, and its note is
    removed."""
    note: Annotated[str, StringConstraints(max_length=500)] | None = None
    """A note for people, for example why the agent is paused."""
    repos: RepoPatterns | None = None
    """The repositories whose tasks the agent may claim: patterns such as `https://github.com/acme/*`. `null`
    removes the rule. Tasks that the agent runs continue; claims that it has not started end at its next poll."""
    submitters: Submitters | None = None
    """The ids of the users whose tasks the agent may claim. `null` removes the rule."""

    def given_rules(self) -> dict[str, list[str] | None]:
        """The rules in this request, by the names of the agent's fields. None removes a rule."""
        given = {"repos": self.repos, "submitters": self.submitters}
        return {name: value for name, value in given.items() if name in self.model_fields_set}


class AgentQuery(ListQuery):
    """The query of GET /api/agents."""

    status: AgentState | None = None
    """Only agents in this status."""
    capability: Capability | None = None
    """Only agents that accept this intent."""


class AgentResponse(OutputModel):
    """An agent. It has the specification's fields and further ones."""

    id: str
    user_id: str
    """The user that the agent belongs to."""
    name: str
    status: AgentState
    """`inactive` after 150 s without a check-in, or after the agent disconnected; `error` if the agent reports it."""
    version: str
    platform: str | None
    capabilities: list[str]
    last_heartbeat: Instant
    """The last check-in: a heartbeat or any other authenticated call of the agent."""
    created_at: Instant
    updated_at: Instant
    concurrency: int | None
    """`null` means 20."""
    reported_status: str | None
    """The `status` of the last heartbeat that had one; `null` if there was none, or if the agent came back after
    `disconnected`."""
    machine: dict[str, float]
    """`uptime`, `taskCount`, `memoryUsage` and `cpuUsage` of the last heartbeat that had at least one of them."""
    paused: bool
    """Whether the agent is excluded from new tasks."""
    note: str | None
    """A note for people."""
    repos: list[str] | None
    """Patterns of the repositories whose tasks the agent may claim. `null`: all repositories."""
    submitters: list[str] | None
    """The ids of the users whose tasks the agent may claim. `null`: all users who may submit."""
    holding: list[str]
    """Ids of the tasks that the agent has claimed or runs."""


class AgentList(ListResponse):
    data: list[AgentResponse]

    @computed_field  # type: ignore[prop-decorator]  # as in pydantic's documentation
    @property
    def agents(self) -> list[AgentResponse]:
        """The same as `data`. The specification has both forms."""
        return self.data


class RegisterAgentResponse(OutputModel):
    """An agent and its new token."""

    success: bool = True
    agent: AgentResponse
    token: str
    """The agent's token. No other response contains it."""


class RemoveAgentResponse(OutputModel):
    """The response of DELETE /api/agents/{id}."""

    success: bool = True
    agent_id: str
    """The id of the removed agent."""


class HeartbeatResponse(OutputModel):
    """The response to a heartbeat: the specification's fields, the tasks to stop, and the state of the agent."""

    success: bool = True
    next_poll_interval: int
    """Milliseconds to wait before the next poll."""
    status: AgentState
    """How the platform sees the agent."""
    cancel: list[str]
    """Ids of tasks to stop: cancelled ones, and ids from `taskIds` that this agent does not hold."""


def to_response(agent: Agent) -> AgentResponse:
    """An agent without its secrets. A tombstone is returned as inactive."""
    return AgentResponse(
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
        reported_status=None
        if agent.state == "active" and agent.reported_status == "disconnected"
        else agent.reported_status,
        machine=agent.machine,
        paused=agent.paused,
        note=agent.note,
        repos=agent.repos or None,
        submitters=agent.submitters or None,
        holding=sorted(agent.claims),
    )


def to_heartbeat_response(agent: Agent, now: int) -> HeartbeatResponse:
    """The response to a heartbeat, given the agent as it is stored afterwards."""
    return HeartbeatResponse(
        next_poll_interval=agent.poll_interval(now),
        status="inactive" if agent.state == "removed" else agent.state,
        cancel=sorted({*agent.unknown_tasks(), *(task_id for task_id, claim in agent.claims.items() if claim.cancel)}),
    )
