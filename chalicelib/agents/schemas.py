"""What clients send about agents, and what they get to see."""

from typing import Annotated

from pydantic import Field, StringConstraints, computed_field, field_validator

from chalicelib.agents.entities import MAX_CLAIMS, Agent, AgentState
from chalicelib.core.models import Id, InputModel, Instant, OutputModel
from chalicelib.core.timestamps import iso
from chalicelib.http.pagination import ListQuery, ListResponse

AgentName = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Capability = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Capabilities = Annotated[list[Capability], Field(max_length=32)]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CLAIMS)]
DEFAULT_CAPABILITIES = ["fix-bug", "feature", "explain", "review-pr"]


class RegisterAgentRequest(InputModel):
    """The spec's body of POST /api/agents; `userId` is ignored: the token says whose the agent is."""

    agent_id: Id
    name: AgentName
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


MachineMetric = Annotated[float, Field(ge=0, le=1e15)]


class HeartbeatRequest(InputModel):
    """Every field is optional. The machine's figures are kept, rounded, and shown with the agent."""

    status: Annotated[str, StringConstraints(max_length=32)] | None = None
    uptime: MachineMetric | None = None
    task_count: MachineMetric | None = None
    memory_usage: MachineMetric | None = None
    cpu_usage: MachineMetric | None = None
    version: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)] | None = None
    capabilities: Capabilities | None = None
    concurrency: Concurrency | None = None

    task_ids: Annotated[list[Id], Field(max_length=100)] | None = None
    """What it runs."""
    instance_id: Id | None = None
    """The process: a second live one of the same agent is refused."""

    def state(self) -> AgentState | None:
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


class UpdateAgentRequest(InputModel):
    """Rename an agent, or pause and resume it, with a note that says why."""

    name: AgentName | None = None
    paused: bool | None = None
    note: Annotated[str, StringConstraints(max_length=500)] | None = None


class AgentQuery(ListQuery):
    status: AgentState | None = None
    capability: Capability | None = None


class AgentResponse(OutputModel):
    """An agent, as the spec shows it."""

    id: str
    user_id: str
    name: str
    status: AgentState
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


class AgentList(ListResponse):
    data: list[AgentResponse]

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def agents(self) -> list[AgentResponse]:
        """The same as `data`: the spec shows both shapes."""
        return self.data


class RegisterAgentResponse(OutputModel):
    success: bool = True
    agent: AgentResponse
    token: str


class RemoveAgentResponse(OutputModel):
    success: bool = True
    agent_id: str


class HeartbeatResponse(OutputModel):
    """The spec's answer to a heartbeat, plus what is to stop and how the platform sees the agent."""

    success: bool = True
    next_poll_interval: int
    """Milliseconds."""
    status: AgentState
    cancel: list[str]
    """Ids of tasks to stop."""


def to_response(agent: Agent) -> AgentResponse:
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
        holding=sorted(agent.claims),
    )


def to_heartbeat_response(agent: Agent, now: int) -> HeartbeatResponse:
    return HeartbeatResponse(
        next_poll_interval=agent.poll_interval(now),
        status="inactive" if agent.state == "removed" else agent.state,
        cancel=sorted({*agent.unknown_tasks(), *(task_id for task_id, held in agent.claims.items() if held.cancel)}),
    )
