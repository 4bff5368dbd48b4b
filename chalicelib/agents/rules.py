"""The rules of agents: liveness, status events and registration. No I/O; time is an argument (epoch milliseconds)."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from chalicelib.agents.entities import Agent, AgentState, StatusEvent
from chalicelib.core.errors import AgentExists, Conflict, Forbidden
from chalicelib.core.outage import Outage
from chalicelib.core.repo_patterns import matches_any
from chalicelib.core.settings import HOUR, MINUTE, SECOND
from chalicelib.core.timestamps import iso

INACTIVE_AFTER = 150 * SECOND
"""An agent without a check-in for this long is inactive."""
LOST_AFTER = 10 * MINUTE
"""An agent without a check-in for this long is lost, and so are the tasks that it runs."""
PUBLISH_WITHIN = MINUTE
"""How old a status event may be before the sweep publishes it, without its message."""

UNUSED_TOKEN_LIFETIME = HOUR
"""A token that an agent requested for itself lapses if it is not used for this long. The old token stays valid."""

Rejection = Literal["repo_not_admitted", "submitter_not_admitted"]
"""Which rule of an agent does not admit a task."""

REGISTRATION_IDEMPOTENCY_WINDOW = 10 * MINUTE
"""How long the same Idempotency-Key means the same registration."""


class DifferentRegistration(Conflict):
    """This Idempotency-Key was used with another registration. Use a new one."""


def within_permit(name: str, requested: Sequence[str] | None, permitted: Sequence[str] | None) -> list[str] | None:
    """What an agent gets of a list, `name` in the plural, if its registration token permits only some elements.

    `requested` is None if the request does not contain the list, `permitted` if the token does not limit it. Returns
    None if neither is given. Raises Forbidden for a requested element that is not permitted.
    """
    if permitted is None:
        return None if requested is None else list(requested)
    if requested is None:
        return list(permitted)
    for element in requested:
        if element not in permitted:
            raise Forbidden(
                f"The registration token does not permit {element!r}. The {name} that it permits:"
                f" {', '.join(permitted) or 'none'}."
            )
    return list(requested)


def became_active(state: AgentState, now: int) -> StatusEvent:
    """An agent was registered, or has checked in after it was inactive."""
    return StatusEvent(event="agent.active", at=now, state=state, seen_at=now)


def became_inactive(seen_at: int, now: int) -> StatusEvent:
    """An agent made no check-in for too long, or disconnected."""
    return StatusEvent(event="agent.inactive", at=now, state="inactive", seen_at=seen_at)


def token_renewed(state: AgentState, now: int) -> StatusEvent:
    """An agent has requested a new token with its old one."""
    return StatusEvent(event="agent.token_renewed", at=now, state=state, seen_at=now)


def has_lapsed(issued_at: int, now: int) -> bool:
    """Whether a token that its agent requested at `issued_at`, and has not used yet, can no longer be used."""
    return now >= issued_at + UNUSED_TOKEN_LIFETIME


def status_event_payload(agent: Agent, event: StatusEvent) -> dict[str, str]:
    """The data of a status event for webhooks."""
    identity = {"agentId": agent.id, "userId": agent.owner, "name": agent.name}
    if event.event == "agent.token_renewed":
        return identity | {"renewedAt": iso(event.at)}
    return identity | {
        "status": event.state,
        "lastHeartbeat": iso(event.seen_at),
        "changedAt": iso(event.at),
    }


def check_at(owner: str, agent_id: str, seen_at: int) -> int:
    """When the sweep must check an agent whose last check-in was at `seen_at`.

    It is 150 s after the end of the agent's minute. So an agent's index entry changes at most once a minute, and an
    agent that is due has certainly made no check-in for 150 s. The minutes of different agents begin at different
    times, so that the changes of many agents are spread over the minute.
    """
    shift = _minute_shift(owner, agent_id)
    return ((seen_at - shift) // MINUTE + 1) * MINUTE + shift + INACTIVE_AFTER


def _minute_shift(owner: str, agent_id: str) -> int:
    """When an agent's minute begins, in milliseconds after the clock's minute. The same in every process and version.

    It must not depend on the agent's shard (`dynamodb.shard`), which uses the first bytes of the same digest.
    """
    return int.from_bytes(hashlib.blake2s(f"{owner}#{agent_id}".encode()).digest()[4:8]) % MINUTE


def assess_liveness(agent: Agent, now: int, outage: Outage | None = None) -> Literal["alive", "inactive", "lost"]:
    """The liveness of an agent. An outage of the platform does not count as silence of the agent."""
    if now >= deadline(agent, LOST_AFTER, outage):
        return "lost"
    return "inactive" if now >= deadline(agent, INACTIVE_AFTER, outage) else "alive"


def deadline(agent: Agent, after: int, outage: Outage | None) -> int:
    """When an agent will have made no check-in for `after` milliseconds, extended by an outage of the platform."""
    due = agent.seen_at + after
    return due if outage is None else outage.extend(agent.seen_at, due)


def check_same_registration(existing: Agent, registration: str | None, now: int) -> None:
    """Check that the existing agent was just registered by this same request (`Agent.registration`).

    Raises AgentExists unless it was registered with the same Idempotency-Key within ten minutes. Raises
    DifferentRegistration if the key is the same and the request is not.
    """
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


def rejection(agent: Agent, repo: str, submitter: str) -> Rejection | None:
    """The rule of the agent that does not admit a task with this repository and submitter. None if all rules do."""
    if agent.repos and not matches_any(agent.repos, repo):
        return "repo_not_admitted"
    if agent.submitters and submitter not in agent.submitters:
        return "submitter_not_admitted"
    return None
