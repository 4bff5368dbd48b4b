"""Registering agents, showing them, and keeping track of who is alive."""

import hashlib
from collections.abc import Callable
from typing import Any

from chalicelib import db
from chalicelib.agents import model, store
from chalicelib.agents.holds import Sign, beat
from chalicelib.agents.model import Agent, AgentQuery, AgentReply, Beaten, Heartbeat, Register, Registered
from chalicelib.auth import service as auth
from chalicelib.auth import tokens
from chalicelib.auth.model import User
from chalicelib.errors import AgentExists, AgentNotFound, Conflict
from chalicelib.pages import listed
from chalicelib.settings import settings


def register(user: User, request: Register, idempotency_key: str | None, now: int) -> Registered:
    """A new agent and its token. Raises AgentExists, or Conflict when the user has as many agents as allowed.

    The same Idempotency-Key within ten minutes is the same registration, whose answer was lost: it is answered again,
    with a new token.
    """
    key = _hashed(idempotency_key)
    agent = Agent(
        owner=user.owner,
        id=request.agent_id,
        name=request.name,
        version=request.version,
        platform=request.platform,
        capabilities=request.capabilities,
        concurrency=request.concurrency,
        state="active",
        ver=tokens.new_version(),
        registration=key,
        created_at=now,
        updated_at=now,
        seen_at=now,
        worked_at=now,
    )
    try:
        db.write(store.new(agent), auth.count_agents(user.owner, 1, settings.agents_per_user))
    except db.Cancelled as cancelled:
        standing = cancelled.rows.get(0)
        if standing is None:
            raise Conflict(
                f"You have {settings.agents_per_user} agents, which is as many as there may be; remove some."
            ) from None
        agent = _registered_again(store.to_agent(standing), key, now)
    return Registered(agent=model.shown(agent), token=tokens.issue("agent", agent.owner, agent.id, agent.ver, now))


def _registered_again(standing: Agent, key: str | None, now: int) -> Agent:
    if key is None or standing.registration != key or now - standing.created_at > model.REPEATABLE_FOR:
        raise AgentExists
    renewed = standing.model_copy(update={"ver": tokens.new_version()})
    try:
        store.replace_version(standing, renewed.ver)
    except db.Failed:  # the same registration at the same time: that one has an answer
        raise AgentExists from None
    return renewed


def show(owner: str, agent: str) -> AgentReply:
    """One agent. Raises AgentNotFound."""
    found = store.load(owner, agent)
    if found is None:
        raise AgentNotFound
    return model.shown(found)


def list_agents(user: User, query: AgentQuery, now: int) -> dict[str, Any]:
    """A page of the user's agents, by id. The array stands under `agents` too: the spec shows both shapes."""
    answer = listed(
        query,
        f"agents|{user.owner}",
        auth.cursors(now),
        lambda limit, start: store.find(user.owner, query, limit, start),
        store.key,
        lambda rows: [model.shown(agent) for agent in store.load_all(rows)],
    )
    return answer | {"agents": answer["data"]}


def heartbeat(sign: Sign, said: Heartbeat) -> Beaten:
    """A sign of life that may also change version, capabilities and concurrency. One request."""
    changes: dict[str, Any] = {
        "machine": said.machine(),
        "reported": said.status,
    }
    lasting = {"version": said.version, "capabilities": said.capabilities, "concurrency": said.concurrency}
    changed = {name: value for name, value in lasting.items() if value is not None}
    if changed:
        changes |= changed | {"updated_at": sign.now}
    state = "error" if said.status == "error" else "active"
    return model.beaten(beat(sign, state, changes), sign.now)


def check(agent: Agent, now: int, excused: int, release: Callable[[str], None]) -> bool:
    """What the sweep makes of an agent that was due: whether it has fallen silent.

    `release(verdict)` lets go of what it held, before the agent is marked, so that a run cut short is taken up by the
    next. An agent that still holds tasks is looked at again when it would be lost; one that holds none, only after its
    next sign of life. Raises Conflict if it was heard of meanwhile.
    """
    verdict = model.silent(agent, now, excused)
    if verdict not in ("inactive", "lost"):
        return False
    release(verdict)
    running = any(hold.started_at is not None for hold in agent.held.values())
    again = max(agent.seen_at + excused + model.LOST_AFTER, now) if running and verdict != "lost" else None
    store.mark(agent, "inactive", again)
    return True


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    return store.due(shard, now, start, limit)


def forget_pinned(agent: Agent) -> None:
    store.forget_pinned(agent)


def load(owner: str, agent: str) -> Agent | None:
    return store.load(owner, agent)


def _hashed(key: str | None) -> str | None:
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()
