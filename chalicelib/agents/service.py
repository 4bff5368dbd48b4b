"""Operations on agents: tokens, reading and listing, heartbeats, and liveness."""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import rules, schemas, status_events, store
from chalicelib.agents.entities import REMOVED, Agent, AgentState
from chalicelib.agents.liveness import CheckIn, save_heartbeat
from chalicelib.agents.schemas import (
    AgentList,
    AgentQuery,
    AgentResponse,
    HeartbeatRequest,
    RegisterAgentResponse,
    UpdateAgentRequest,
)
from chalicelib.auth import service as auth
from chalicelib.auth import tokens
from chalicelib.auth.entities import User
from chalicelib.core.errors import AgentNotFound
from chalicelib.core.outage import Outage
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT, list_page


def to_register_response(agent: Agent, now: int) -> RegisterAgentResponse:
    """An agent, and a token of its present version."""
    return RegisterAgentResponse(
        agent=schemas.to_response(agent), token=tokens.issue("agent", agent.owner, agent.id, agent.ver, now)
    )


def mark_removed(owner: str, agent_id: str, now: int) -> Agent:
    """Begin to remove an agent. Its token is revoked, and its row stays as a tombstone until it has no claims.

    Raises AgentNotFound.
    """
    values = {"state": REMOVED, "ver": tokens.new_version(), "next_ver": None, "updated_at": now}
    return _update(owner, agent_id, values | store.check_schedule(owner, agent_id, now, at=now))


def delete_tombstone(agent: Agent) -> None:
    """Delete the row of a removed agent. Without effect while it has claims or events: the sweep tries again."""
    try:
        dynamodb.transact_write(store.delete_item(agent.owner, agent.id), auth.agent_count_item(agent.owner, -1, 0))
    except dynamodb.TransactionCancelled:
        return


def update_agent(owner: str, agent_id: str, request: UpdateAgentRequest, now: int) -> AgentResponse:
    """Rename, pause or resume, or change the rules. Raises AgentNotFound."""
    given = request.model_dump(exclude_unset=True, exclude_none=True, exclude={"repos", "submitters"})
    if given.get("paused") is False:
        given = {"paused": None, "note": None} | {name: given[name] for name in ("name", "note") if name in given}
    rules_given = request.given_rules()
    if rules_given:
        given |= rules_given | {"rules_version": tokens.new_version()}
    return schemas.to_response(_update(owner, agent_id, given | {"updated_at": now}))


def rotate_token(owner: str, agent_id: str, now: int) -> RegisterAgentResponse:
    """Create a new token for a user's request. The old one is revoked at once. The agent keeps its claims.

    Raises AgentNotFound.
    """
    return to_register_response(
        _update(owner, agent_id, {"ver": tokens.new_version(), "next_ver": None, "updated_at": now}), now
    )


def renew_token(check_in: CheckIn, instance_id: str | None) -> RegisterAgentResponse:
    """Create a new token for the agent's own request.

    The old one is revoked when the new one is first used. So an agent that does not receive the response can continue
    with the old one. The new one lapses if it is not used (`rules.UNUSED_TOKEN_LIFETIME`). One request, so that a
    revocation by the user at the same time wins. Raises NotActiveInstance, and the errors of `CheckIn.save`.
    """
    version = tokens.new_version()
    agent = check_in._replace(renewed_ver=version, instance_id=instance_id).save()
    token = tokens.issue("agent", agent.owner, agent.id, version, check_in.now)
    return RegisterAgentResponse(agent=schemas.to_response(agent), token=token)


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
    """Store a heartbeat. It may also change the version, capabilities and concurrency. One request."""
    values: dict[str, Any] = {"machine": request.machine()} if request.machine() else {}
    if request.status is not None:
        values["reported_status"] = request.status
    registered = {"version": request.version, "capabilities": request.capabilities, "concurrency": request.concurrency}
    changed = {name: value for name, value in registered.items() if value is not None}
    if changed:
        values |= changed | {"updated_at": check_in.now}
    check_in = check_in._replace(
        state=request.state(), instance_id=request.instance_id, capabilities=request.capabilities
    )
    return save_heartbeat(check_in, values, request.task_ids, request.process_id)


def check_liveness(agent: Agent, now: int, outage: Outage | None, release: Callable[[str], None]) -> bool:
    """The sweep checks an agent that is due. Returns whether the agent is inactive or lost.

    `release(verdict)` releases the agent's tasks. It is called before the agent is marked inactive, so that the next
    sweep resumes an interrupted one. The sweep checks an agent with running tasks again when it would be lost, and an
    agent without them only after its next check-in. Raises Conflict if the agent has checked in.
    """
    verdict = rules.assess_liveness(agent, now, outage)
    if verdict == "alive":
        return False
    release(verdict)
    is_running = any(claim.started_at is not None for claim in agent.claims.values())
    lost_at = rules.deadline(agent, rules.LOST_AFTER, outage)
    check_again_at = max(lost_at, now) if is_running and verdict != "lost" else None
    event = None if agent.state == "inactive" else rules.became_inactive(agent.seen_at, now)
    store.mark_inactive(agent, check_again_at, event)
    if event is not None:
        status_events.send_to_queue(agent.owner, agent.id)
    return True


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the agents in a shard that the sweep must check."""
    return store.find_due(shard, now, start, limit)


def sample_states(shard: int, maximum: int) -> list[str]:
    """The states of agents in a shard that have a check scheduled. At most `maximum` are read."""
    return store.sample_states(shard, maximum)


def count_by_state(owner: str) -> dict[AgentState, int]:
    """The number of a user's agents in each state."""
    counts: dict[AgentState, int] = {"active": 0, "inactive": 0, "error": 0}
    for page in dynamodb.paginate(lambda start: store.find_agents(owner, AgentQuery(), EXACT_TOTAL_LIMIT, start)):
        for row in page.rows:
            counts[row["state"]] += 1
    return counts


def record_pinned_search(agent: Agent, now: int, *, found: bool, index_lag: int, max_wait: int) -> None:
    """Record whether a poll found tasks that are pinned to the agent, which decides whether the next polls look.

    `index_lag` is how long after a task became claimable every poll looks for it, and `max_wait` is how long a task can
    wait. No request if nothing changes.
    """
    if found and agent.pinned_at is None:
        store.set_pinned_at(agent, now)
    elif not found and agent.pinned_at is not None and now - agent.pinned_at > index_lag:
        store.clear_pinned_at(agent, agent.pinned_at + max_wait)


def record_search_positions(agent: Agent, positions: Mapping[str, str]) -> None:
    """Record where the search of a long queue ended. The next poll continues there. No request if nothing changes."""
    if positions != agent.search_positions:
        store.set_search_positions(agent, positions)


def load_agent(owner: str, agent_id: str) -> Agent | None:
    """An agent, or the tombstone of a removed one."""
    return store.load_agent(owner, agent_id)
