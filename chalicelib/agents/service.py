"""Registering agents, showing them, and keeping track of who is alive."""

from collections.abc import Callable
from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import rules, schemas, status_events, store, tables
from chalicelib.agents.entities import REMOVED, Agent, AgentState
from chalicelib.agents.liveness import CheckIn, save_heartbeat
from chalicelib.agents.schemas import (
    AgentList,
    AgentQuery,
    AgentResponse,
    HeartbeatRequest,
    RegisterAgentRequest,
    RegisterAgentResponse,
    UpdateAgentRequest,
)
from chalicelib.auth import service as auth
from chalicelib.auth import tokens
from chalicelib.auth.entities import User
from chalicelib.core.errors import AgentNotFound, Conflict, Unavailable
from chalicelib.core.outage import Outage
from chalicelib.core.settings import settings
from chalicelib.core.text import fingerprint
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT, list_page

_MAX_TRIES = 5


class TooManyAgents(Conflict):
    """You have as many agents as a user may have; remove some."""


def register_agent(user: User, request: RegisterAgentRequest, idempotency_key: str | None, now: int) -> Agent:
    """A new agent and its token. Raises AgentExists, or Conflict when the user has as many agents as allowed.

    The same Idempotency-Key within ten minutes is the same registration, whose answer was lost: it is answered again,
    with a new token.
    """
    agent = _new_agent(user.owner, request, idempotency_key, now)
    try:
        dynamodb.transact_write(
            store.create_item(agent), auth.agent_count_item(user.owner, 1, settings.agents_per_user)
        )
        status_events.send_to_queue(agent.owner, agent.id)
    except dynamodb.TransactionCancelled as cancelled:
        existing = cancelled.rows.get(0)
        if existing is None:
            raise TooManyAgents from None
        agent = _repeat_registration(tables.to_agent(existing), agent.registration, now)
    return agent


def to_register_response(agent: Agent, now: int) -> RegisterAgentResponse:
    return RegisterAgentResponse(
        agent=schemas.to_response(agent), token=tokens.issue("agent", agent.owner, agent.id, agent.ver, now)
    )


def _new_agent(owner: str, request: RegisterAgentRequest, idempotency_key: str | None, now: int) -> Agent:
    return Agent(
        owner=owner,
        id=request.agent_id,
        name=request.name,
        version=request.version,
        platform=request.platform,
        capabilities=request.capabilities,
        concurrency=request.concurrency,
        state="active",
        ver=tokens.new_version(),
        registration=None
        if idempotency_key is None
        else f"{fingerprint(idempotency_key)}.{fingerprint(request.model_dump())}",
        created_at=now,
        updated_at=now,
        seen_at=now,
        worked_at=now,
        status_events=[rules.became_active("active", now)],
    )


def _repeat_registration(existing: Agent, registration: str | None, now: int) -> Agent:
    for _ in range(_MAX_TRIES):
        rules.check_same_registration(existing, registration, now)
        try:
            return store.update_agent(existing.owner, existing.id, {"ver": tokens.new_version()}, ver=existing.ver)
        except dynamodb.ConditionFailed as failed:  # the same registration at the same time
            if failed.row is None:  # gone meanwhile: asked again, it is registered as a new one
                break
            existing = tables.to_agent(failed.row)
    raise Unavailable


def replace_agent(existing: Agent, request: RegisterAgentRequest, idempotency_key: str | None, now: int) -> Agent:
    """Register an agent anew over its old row: its old token is dead from here on. It still shows what it held.

    Raises AgentNotFound where it is gone, or was removed, came or went meanwhile.
    """
    agent = _new_agent(existing.owner, request, idempotency_key, now)
    kept = ("owner", "id", "calls", "claims", "pinned_at", "machine", "status_events")
    values: dict[str, Any] = {name: value for name, value in agent if name not in kept}
    values |= {"paused": None, "instance": None} | store.check_schedule(agent.owner, agent.id, now)
    back = None if existing.state == "active" else rules.became_active("active", now)
    try:
        taken = store.update_agent(agent.owner, agent.id, values, ver=existing.ver, state=existing.state, event=back)
    except dynamodb.ConditionFailed:
        raise AgentNotFound from None
    if back is not None:
        status_events.send_to_queue(agent.owner, agent.id)
    return taken


def mark_removed(owner: str, agent_id: str, now: int) -> Agent:
    """Removing begins: the token is dead, and the row stays as a tombstone until it holds nothing.

    Raises AgentNotFound.
    """
    values = {"state": REMOVED, "ver": tokens.new_version(), "next_ver": None, "updated_at": now}
    return _update(owner, agent_id, values | store.check_schedule(owner, agent_id, now, at=now))


def delete_tombstone(agent: Agent) -> None:
    """Removing ends: the tombstone goes. Changes nothing while it holds tasks still: the sweep comes again."""
    try:
        dynamodb.transact_write(store.delete_item(agent.owner, agent.id), auth.agent_count_item(agent.owner, -1, 0))
    except dynamodb.TransactionCancelled:
        return


def update_agent(owner: str, agent_id: str, request: UpdateAgentRequest, now: int) -> AgentResponse:
    """Rename, pause or resume. Raises AgentNotFound."""
    given = request.model_dump(exclude_unset=True, exclude_none=True)
    if given.get("paused") is False:
        given = {"paused": None, "note": None} | {name: given[name] for name in ("name", "note") if name in given}
    return schemas.to_response(_update(owner, agent_id, given | {"updated_at": now}))


def rotate_token(owner: str, agent_id: str, now: int) -> RegisterAgentResponse:
    """A new token, at a user's wish: the old one is dead at once. What the agent holds, it keeps.

    Raises AgentNotFound.
    """
    return to_register_response(
        _update(owner, agent_id, {"ver": tokens.new_version(), "next_ver": None, "updated_at": now}), now
    )


def renew_token(check_in: CheckIn) -> RegisterAgentResponse:
    """A new token, at the agent's own wish: the old one dies when the new one is first used, so that losing this
    answer locks nobody out."""
    agent = check_in.save()
    version = tokens.new_version()
    renewed = _update(agent.owner, agent.id, {"next_ver": version})
    token = tokens.issue("agent", agent.owner, agent.id, version, check_in.now)
    return RegisterAgentResponse(agent=schemas.to_response(renewed), token=token)


def _update(owner: str, agent_id: str, values: dict[str, Any]) -> Agent:
    try:
        return store.update_agent(owner, agent_id, values)
    except dynamodb.ConditionFailed:
        raise AgentNotFound from None


def get_agent(owner: str, agent_id: str) -> AgentResponse:
    """One agent. Raises AgentNotFound."""
    found = store.load_agent(owner, agent_id)
    if found is None or found.state == REMOVED:
        raise AgentNotFound
    return schemas.to_response(found)


def list_agents(user: User, query: AgentQuery, now: int) -> AgentList:
    """A page of the user's agents, by id."""
    return list_page(
        AgentList,
        query,
        f"agents|{user.owner}",
        auth.cursors(now),
        lambda limit, start: store.find_agents(user.owner, query, limit, start),
        store.cursor_key,
        lambda found: [schemas.to_response(agent) for agent in store.load_agents(found)],
    )


def record_heartbeat(check_in: CheckIn, request: HeartbeatRequest) -> Agent:
    """A sign of life that may also change version, capabilities and concurrency. One request."""
    values: dict[str, Any] = {"machine": request.machine()} if request.machine() else {}
    if request.status is not None:
        values["reported_status"] = request.status
    lasting = {"version": request.version, "capabilities": request.capabilities, "concurrency": request.concurrency}
    changed = {name: value for name, value in lasting.items() if value is not None}
    if changed:
        values |= changed | {"updated_at": check_in.now}
    check_in = check_in._replace(state=request.state(), instance_id=request.instance_id)
    return save_heartbeat(check_in, values, request.task_ids)


def check_liveness(agent: Agent, now: int, outage: Outage | None, release: Callable[[str], None]) -> bool:
    """What the sweep makes of an agent that was due: whether it has fallen silent.

    `release(verdict)` lets go of what it held, before the agent is marked, so that a run cut short is taken up by the
    next. An agent that still holds tasks is looked at again when it would be lost; one that holds none, only after its
    next sign of life. Raises Conflict if it was heard of meanwhile.
    """
    verdict = rules.assess_liveness(agent, now, outage)
    if verdict == "alive":
        return False
    release(verdict)
    running = any(hold.started_at is not None for hold in agent.claims.values())
    again = max(rules.deadline(agent, rules.LOST_AFTER, outage), now) if running and verdict != "lost" else None
    went = None if agent.state == "inactive" else rules.became_inactive(agent.seen_at, now)
    store.mark_inactive(agent, again, went)
    if went is not None:
        status_events.send_to_queue(agent.owner, agent.id)
    return True


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    return store.find_due(shard, now, start, limit)


def sample_states(shard: int, maximum: int) -> list[str]:
    return store.sample_states(shard, maximum)


def count_by_state(owner: str) -> dict[AgentState, int]:
    """How many of a user's agents are in each state."""
    counts: dict[AgentState, int] = {"active": 0, "inactive": 0, "error": 0}
    for page in dynamodb.paginate(lambda start: store.find_agents(owner, AgentQuery(), EXACT_TOTAL_LIMIT, start)):
        for row in page.rows:
            counts[row["state"]] += 1
    return counts


def forget_pinned(agent: Agent) -> None:
    store.forget_pinned(agent)


def load_agent(owner: str, agent_id: str) -> Agent | None:
    return store.load_agent(owner, agent_id)
