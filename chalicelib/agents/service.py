"""Registering agents, showing them, and keeping track of who is alive."""

from collections.abc import Callable
from typing import Any

from chalicelib import db
from chalicelib.agents import model, news, rows, shapes, store
from chalicelib.agents.agent import REMOVED, Agent, State
from chalicelib.agents.holds import Sign, beat
from chalicelib.agents.shapes import AgentListing, AgentQuery, AgentReply, Heartbeat, Patch, Register, Registered
from chalicelib.auth import service as auth
from chalicelib.auth import tokens
from chalicelib.auth.model import User
from chalicelib.errors import AgentNotFound, Conflict, Unavailable
from chalicelib.outage import Outage
from chalicelib.pages import COUNTED, listed
from chalicelib.settings import settings
from chalicelib.texts import digest

_TRIES = 5


class TooManyAgents(Conflict):
    """You have as many agents as a user may have; remove some."""


def register(user: User, request: Register, idempotency_key: str | None, now: int) -> Agent:
    """A new agent and its token. Raises AgentExists, or Conflict when the user has as many agents as allowed.

    The same Idempotency-Key within ten minutes is the same registration, whose answer was lost: it is answered again,
    with a new token.
    """
    agent = _new(user.owner, request, idempotency_key, now)
    try:
        db.write(store.new(agent), auth.count_agents(user.owner, 1, settings.agents_per_user))
        news.send(agent.owner, agent.id)
    except db.Cancelled as cancelled:
        standing = cancelled.rows.get(0)
        if standing is None:
            raise TooManyAgents from None
        agent = _registered_again(rows.to_agent(standing), agent.registration, now)
    return agent


def registered(agent: Agent, now: int) -> Registered:
    return Registered(agent=shapes.shown(agent), token=tokens.issue("agent", agent.owner, agent.id, agent.ver, now))


def _new(owner: str, request: Register, idempotency_key: str | None, now: int) -> Agent:
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
        registration=None if idempotency_key is None else f"{digest(idempotency_key)}.{digest(request.model_dump())}",
        created_at=now,
        updated_at=now,
        seen_at=now,
        worked_at=now,
        news=[model.came("active", now)],
    )


def _registered_again(standing: Agent, registration: str | None, now: int) -> Agent:
    for _ in range(_TRIES):
        model.check_same_registration(standing, registration, now)
        try:
            return store.change(standing.owner, standing.id, {"ver": tokens.new_version()}, ver=standing.ver)
        except db.Failed as failed:  # the same registration at the same time
            if failed.row is None:  # gone meanwhile: asked again, it is registered as a new one
                break
            standing = rows.to_agent(failed.row)
    raise Unavailable


def take_over(standing: Agent, request: Register, idempotency_key: str | None, now: int) -> Agent:
    """Register an agent anew over its old row: its old token is dead from here on. It still shows what it held.

    Raises AgentNotFound where it is gone, or was removed, came or went meanwhile.
    """
    agent = _new(standing.owner, request, idempotency_key, now)
    kept = ("owner", "id", "calls", "held", "pinned_at", "machine", "news")
    values: dict[str, Any] = {name: value for name, value in agent if name not in kept}
    values |= {"paused": None, "instance": None} | store.watched(agent.owner, agent.id, now)
    back = None if standing.state == "active" else model.came("active", now)
    try:
        taken = store.change(agent.owner, agent.id, values, ver=standing.ver, state=standing.state, back=back)
    except db.Failed:
        raise AgentNotFound from None
    if back is not None:
        news.send(agent.owner, agent.id)
    return taken


def mark_removed(owner: str, agent: str, now: int) -> Agent:
    """Removing begins: the token is dead, and the row stays as a tombstone until it holds nothing.

    Raises AgentNotFound.
    """
    values = {"state": REMOVED, "ver": tokens.new_version(), "next_ver": None, "updated_at": now}
    return _changed(owner, agent, values | store.watched(owner, agent, now, at=now))


def forget(agent: Agent) -> None:
    """Removing ends: the tombstone goes. Changes nothing while it holds tasks still: the sweep comes again."""
    try:
        db.write(store.delete(agent.owner, agent.id), auth.count_agents(agent.owner, -1, 0))
    except db.Cancelled:
        return


def patch(owner: str, agent: str, request: Patch, now: int) -> AgentReply:
    """Rename, pause or resume. Raises AgentNotFound."""
    given = request.model_dump(exclude_unset=True, exclude_none=True)
    if given.get("paused") is False:
        given = {"paused": None, "note": None} | {name: given[name] for name in ("name", "note") if name in given}
    return shapes.shown(_changed(owner, agent, given | {"updated_at": now}))


def rotate(owner: str, agent: str, now: int) -> Registered:
    """A new token, at a user's wish: the old one is dead at once. What the agent holds, it keeps.

    Raises AgentNotFound.
    """
    return registered(_changed(owner, agent, {"ver": tokens.new_version(), "next_ver": None, "updated_at": now}), now)


def renew(sign: Sign) -> Registered:
    """A new token, at the agent's own wish: the old one dies when the new one is first used, so that losing this
    answer locks nobody out."""
    agent = sign.show()
    version = tokens.new_version()
    renewed = _changed(agent.owner, agent.id, {"next_ver": version})
    token = tokens.issue("agent", agent.owner, agent.id, version, sign.now)
    return Registered(agent=shapes.shown(renewed), token=token)


def _changed(owner: str, agent: str, values: dict[str, Any]) -> Agent:
    try:
        return store.change(owner, agent, values)
    except db.Failed:
        raise AgentNotFound from None


def show(owner: str, agent: str) -> AgentReply:
    """One agent. Raises AgentNotFound."""
    found = store.load(owner, agent)
    if found is None or found.state == REMOVED:
        raise AgentNotFound
    return shapes.shown(found)


def list_agents(user: User, query: AgentQuery, now: int) -> AgentListing:
    """A page of the user's agents, by id."""
    return listed(
        AgentListing,
        query,
        f"agents|{user.owner}",
        auth.cursors(now),
        lambda limit, start: store.find(user.owner, query, limit, start),
        store.key,
        lambda found: [shapes.shown(agent) for agent in store.load_all(found)],
    )


def heartbeat(sign: Sign, said: Heartbeat) -> Agent:
    """A sign of life that may also change version, capabilities and concurrency. One request."""
    values: dict[str, Any] = {"machine": said.machine()} if said.machine() else {}
    if said.status is not None:
        values["reported"] = said.status
    lasting = {"version": said.version, "capabilities": said.capabilities, "concurrency": said.concurrency}
    changed = {name: value for name, value in lasting.items() if value is not None}
    if changed:
        values |= changed | {"updated_at": sign.now}
    sign = sign._replace(state=said.state(), instance=said.instance_id)
    return beat(sign, values, said.task_ids)


def check(agent: Agent, now: int, outage: Outage | None, release: Callable[[str], None]) -> bool:
    """What the sweep makes of an agent that was due: whether it has fallen silent.

    `release(verdict)` lets go of what it held, before the agent is marked, so that a run cut short is taken up by the
    next. An agent that still holds tasks is looked at again when it would be lost; one that holds none, only after its
    next sign of life. Raises Conflict if it was heard of meanwhile.
    """
    verdict = model.silent(agent, now, outage)
    if verdict == "alive":
        return False
    release(verdict)
    running = any(hold.started_at is not None for hold in agent.held.values())
    again = max(model.deadline(agent, model.LOST_AFTER, outage), now) if running and verdict != "lost" else None
    went = None if agent.state == "inactive" else model.went(agent.seen_at, now)
    store.mark(agent, again, went)
    if went is not None:
        news.send(agent.owner, agent.id)
    return True


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    return store.due(shard, now, start, limit)


def living(shard: int, most: int) -> list[str]:
    return store.living(shard, most)


def count_by_state(owner: str) -> dict[State, int]:
    """How many of a user's agents are in each state."""
    counts: dict[State, int] = {"active": 0, "inactive": 0, "error": 0}
    for page in db.pages(lambda start: store.find(owner, AgentQuery(), COUNTED, start)):
        for row in page.rows:
            counts[row["state"]] += 1
    return counts


def forget_pinned(agent: Agent) -> None:
    store.forget_pinned(agent)


def load(owner: str, agent: str) -> Agent | None:
    return store.load(owner, agent)
