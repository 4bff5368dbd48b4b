"""The rules of agents: when they are silent, what is told of them. No I/O; time is an argument (epoch milliseconds)."""

from typing import Literal

from chalicelib.agents.entities import Agent, AgentState, StatusEvent
from chalicelib.core.errors import AgentExists, Conflict
from chalicelib.core.outage import Outage
from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.core.timestamps import iso

INACTIVE_AFTER = 150 * SECOND
LOST_AFTER = 10 * MINUTE
PUBLISH_WITHIN = MINUTE
"""So long after it was written the sweep takes up news that is still to be told; a message does so before."""


def became_active(state: AgentState, now: int) -> StatusEvent:
    """An agent is there (again)."""
    return StatusEvent(event="agent.active", at=now, state=state, seen_at=now)


def became_inactive(seen_at: int, now: int) -> StatusEvent:
    """An agent fell silent, or said that it goes."""
    return StatusEvent(event="agent.inactive", at=now, state="inactive", seen_at=seen_at)


def status_event_payload(agent: Agent, event: StatusEvent) -> dict[str, str]:
    """What webhooks tell of an agent that came or went."""
    return {
        "agentId": agent.id,
        "userId": agent.owner,
        "name": agent.name,
        "status": event.state,
        "lastHeartbeat": iso(event.seen_at),
        "changedAt": iso(event.at),
    }


def check_at(seen_at: int) -> int:
    """When the sweep must look at an agent that was last seen then: coarse, so that the index moves once a minute.

    Everything that is due by this is stale: the end of the minute of the last sign of life, plus 150 s.
    """
    return (seen_at // MINUTE + 1) * MINUTE + INACTIVE_AFTER


def assess_liveness(agent: Agent, now: int, outage: Outage | None = None) -> Literal["alive", "inactive", "lost"]:
    """What an agent's silence makes of it, an outage of our own not counted."""
    if now >= deadline(agent, LOST_AFTER, outage):
        return "lost"
    return "inactive" if now >= deadline(agent, INACTIVE_AFTER, outage) else "alive"


def deadline(agent: Agent, after: int, outage: Outage | None) -> int:
    """When an agent has been silent for so long."""
    due = agent.seen_at + after
    return due if outage is None else outage.extend(agent.seen_at, due)


REGISTRATION_IDEMPOTENCY_WINDOW = 10 * MINUTE
"""So long the same Idempotency-Key registers the same agent again."""


class DifferentRegistration(Conflict):
    """This Idempotency-Key was used with another registration; use a new one."""


def check_same_registration(existing: Agent, registration: str | None, now: int) -> None:
    """Raises AgentExists unless the agent that stands was just registered under the same key; OtherRegistration if that
    was with another request. A registration is `<digest of the key>.<digest of the request>`."""
    if (
        registration is None
        or existing.registration is None
        or now - existing.created_at > REGISTRATION_IDEMPOTENCY_WINDOW
    ):
        raise AgentExists
    if existing.registration.partition(".")[0] != registration.partition(".")[0]:
        raise AgentExists
    if existing.registration != registration:
        raise DifferentRegistration
