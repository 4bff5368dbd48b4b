"""The rules of agents: when they are silent, what is told of them. No I/O; time is an argument (epoch milliseconds)."""

from typing import Literal

from chalicelib.agents.agent import Agent, News, State
from chalicelib.errors import AgentExists, Conflict
from chalicelib.outage import Outage
from chalicelib.settings import MINUTE, SECOND
from chalicelib.times import iso

INACTIVE_AFTER = 150 * SECOND
LOST_AFTER = 10 * MINUTE
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
