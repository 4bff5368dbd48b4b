"""Registering agents: new ones, a registration that was sent twice, and in place of an existing agent."""

from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import rules, status_events, store, tables
from chalicelib.agents.entities import REMOVED, Agent
from chalicelib.agents.schemas import RegisterAgentRequest
from chalicelib.auth import registration_tokens, tokens
from chalicelib.auth import service as auth
from chalicelib.auth.entities import RegistrationToken, User
from chalicelib.core.errors import AgentExists, AgentNotFound, Conflict, Unavailable
from chalicelib.core.settings import settings
from chalicelib.core.text import fingerprint

_MAX_TRIES = 5
_USE_ITEM = 2
"""The index of the item in the transaction of a registration that counts a use of the registration token."""


class TooManyAgents(Conflict):
    """You have the maximum number of agents. Remove one, and register this one again."""


def register_agent(
    user: User,
    request: RegisterAgentRequest,
    idempotency_key: str | None,
    now: int,
    permit: RegistrationToken | None = None,
) -> Agent:
    """Register an agent. Raises AgentExists, TooManyAgents, DifferentRegistration.

    `permit` is the registration token of the request, None for the token of a user. It limits the agent, and one of
    its uses is counted in the transaction that stores the agent. Raises Forbidden for more than it permits,
    RegistrationTokenUsedUp, and Unauthenticated where it was revoked meanwhile.

    The same Idempotency-Key within ten minutes means the same registration, whose response was lost. It succeeds and
    returns the agent with a new token version.
    """
    agent = _new_agent(user.owner, request, idempotency_key, now, permit)
    items = [store.create_item(agent), auth.agent_count_item(user.owner, 1, settings.agents_per_user)]
    if permit is not None:
        items.append(registration_tokens.use_item(user.owner, permit, now))
    try:
        dynamodb.transact_write(*items)
        status_events.send_to_queue(agent.owner, agent.id)
    except dynamodb.TransactionCancelled as cancelled:
        existing = cancelled.rows.get(0)
        if existing is None and _USE_ITEM in cancelled.rows:
            raise registration_tokens.use_error(cancelled.rows[_USE_ITEM], now) from None
        if existing is None:
            raise TooManyAgents from None
        agent = _repeat_registration(tables.to_agent(existing), agent.registration, now)
    return agent


def _new_agent(
    owner: str,
    request: RegisterAgentRequest,
    idempotency_key: str | None,
    now: int,
    permit: RegistrationToken | None = None,
) -> Agent:
    content: Any = request.content()
    if permit is not None:
        request = _within_permit(request, permit)
        content = [content, permit.id]  # another registration token cannot repeat this registration
    return Agent(
        owner=owner,
        id=request.agent_id,
        name=request.name,
        version=request.version,
        platform=request.platform,
        capabilities=request.capabilities,
        permitted_capabilities=None if permit is None else permit.capabilities,
        concurrency=request.concurrency,
        state="active",
        ver=tokens.new_version(),
        registration=None if idempotency_key is None else f"{fingerprint(idempotency_key)}.{fingerprint(content)}",
        rules_version=tokens.new_version() if request.given_rules() else None,
        created_at=now,
        updated_at=now,
        seen_at=now,
        worked_at=now,
        repos=request.repos or [],
        submitters=request.submitters or [],
        status_events=[rules.became_active("active", now)],
    )


def _within_permit(request: RegisterAgentRequest, permit: RegistrationToken) -> RegisterAgentRequest:
    """The request with what its registration token permits where it contains nothing. Raises Forbidden for more."""
    requested = request.capabilities if "capabilities" in request.model_fields_set else None
    limited = {
        "capabilities": rules.within_permit("capabilities", requested, permit.capabilities),
        "repos": rules.within_permit("patterns of repositories", request.repos, permit.repos),
    }
    return request.model_copy(update={name: value for name, value in limited.items() if value is not None})


def _repeat_registration(existing: Agent, registration: str | None, now: int) -> Agent:
    """Register an agent again whose registration was sent twice. It is active, and every earlier token is revoked.

    Raises AgentExists, also for a tombstone, and DifferentRegistration.
    """
    for _ in range(_MAX_TRIES):
        if existing.state == REMOVED:
            raise AgentExists
        rules.check_same_registration(existing, registration, now)
        try:
            return _register_again(existing, {"seen_at": now, "state": "active", "ver": tokens.new_version()}, now)
        except dynamodb.ConditionFailed as failed:  # another writer changed the agent at the same time
            if failed.row is None:  # the agent was deleted in the meantime: a retry registers a new one
                break
            existing = tables.to_agent(failed.row)
    raise Unavailable


def _register_again(existing: Agent, values: dict[str, Any], now: int) -> Agent:
    """Set `values` of an agent that its user registers again, and end what belongs to its earlier processes.

    Raises ConditionFailed if the state or the token has changed since the agent was read.
    """
    values = values | {"next_ver": None, "instance": None} | store.check_schedule(existing.owner, existing.id, now)
    event = None if existing.state == "active" else rules.became_active("active", now)
    agent = store.update_agent(existing.owner, existing.id, values, ver=existing.ver, state=existing.state, event=event)
    if event is not None:
        status_events.send_to_queue(agent.owner, agent.id)
    return agent


def replace_agent(existing: Agent, request: RegisterAgentRequest, idempotency_key: str | None, now: int) -> Agent:
    """Register an existing agent again on its old row. The old token is revoked. The returned agent has its old claims.

    It keeps those of its rules that the request does not give, unless it was removed.
    Raises AgentNotFound if the agent was deleted, or if its state or token has changed since it was read.
    """
    agent = _new_agent(existing.owner, request, idempotency_key, now)
    unchanged = {"owner", "id", "calls", "claims", "pinned_at", "pinned_until", "machine", "status_events"}
    rules_given = request.given_rules()
    new_rules = {"repos": agent.repos or None, "submitters": agent.submitters or None, "search_positions": None}
    if existing.state != REMOVED:
        unchanged |= new_rules.keys() - rules_given.keys()
        unchanged |= set() if rules_given else {"rules_version"}
    values = {name: value for name, value in (*agent, *new_rules.items(), ("paused", None)) if name not in unchanged}
    try:
        return _register_again(existing, values, now)
    except dynamodb.ConditionFailed:
        raise AgentNotFound from None
