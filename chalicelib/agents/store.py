"""Named queries and conditional writes on the table `agents`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pynamodb.expressions.condition import size

from chalicelib import dynamodb
from chalicelib.agents.entities import REMOVED, Agent, StatusEvent
from chalicelib.agents.rules import PUBLISH_WITHIN, check_at
from chalicelib.agents.schemas import AgentQuery
from chalicelib.agents.tables import AgentRow, shard, to_agent, to_stored_event
from chalicelib.core.errors import Conflict
from chalicelib.http.pagination import MIN_ROWS_EXAMINED


def create_item(agent: Agent) -> dynamodb.TransactItem:
    """The item of a new agent, as part of a transaction. Fails if the agent exists."""
    at = agent.status_events[-1].at if agent.status_events else None
    row = dynamodb.item(
        AgentRow,
        owner=agent.owner,
        agent_id=agent.id,
        name=agent.name,
        version=agent.version,
        platform=agent.platform,
        capabilities=agent.capabilities,
        permitted_capabilities=agent.permitted_capabilities,
        concurrency=agent.concurrency,
        state=agent.state,
        machine={},
        ver=agent.ver,
        registration=agent.registration,
        repos=agent.repos or None,
        submitters=agent.submitters or None,
        rules_version=agent.rules_version,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        seen_at=agent.seen_at,
        worked_at=agent.worked_at,
        claims={},
        calls={},
        check_shard=shard(agent.owner, agent.id),
        check_at=check_at(agent.owner, agent.id, agent.seen_at),
        status_events=[to_stored_event(each) for each in agent.status_events] or None,
        publish_shard=None if at is None else shard(agent.owner, agent.id),
        publish_at=None if at is None else at + PUBLISH_WITHIN,
    )
    return dynamodb.transact_put(row, dynamodb.not_exists(AgentRow.owner))


def update_agent(
    owner: str,
    agent_id: str,
    values: Mapping[str, Any],
    *,
    ver: str | None = None,
    state: str | None = None,
    event: StatusEvent | None = None,
) -> Agent:
    """Set some attributes (None removes one) and return the agent as stored afterwards.

    `event` is stored in the same write. Raises ConditionFailed if there is no such agent, or if `state` or the
    token version `ver` is given and differs.
    """
    actions = dynamodb.set_or_remove(AgentRow, values)
    if event is not None:
        actions.append(append_status_events(owner, agent_id, [event]))
    condition = is_registered() if state is None else dynamodb.equals(AgentRow.state, state)
    if ver is not None:
        condition &= dynamodb.equals(AgentRow.ver, ver)
    return to_agent(dynamodb.update_item(_row(owner, agent_id), actions, condition))


def append_status_events(owner: str, agent_id: str, events: Sequence[StatusEvent]) -> dynamodb.Clause:
    """Store events on an agent's row, in the write of the changes that they report, until they are published."""
    stored = [to_stored_event(event) for event in events]
    return _append_status_events(stored, [], shard(owner, agent_id), events[-1].at + PUBLISH_WITHIN)


@dynamodb.clause
def _append_status_events(events: Any, none: Any, shard_number: int, at: int) -> Any:
    more = (AgentRow.status_events | none).append(events)
    return [AgentRow.status_events.set(more), AgentRow.publish_shard.set(shard_number), AgentRow.publish_at.set(at)]


def published_item(agent: Agent, count: int) -> dynamodb.TransactItem:
    """Remove the first `count` events of an agent, which are published in the same transaction.

    Fails if they have been published, or if the agent's events have changed.
    """
    remaining = [to_stored_event(each) for each in agent.status_events[count:]]
    actions = [dynamodb.set_value(AgentRow.status_events, remaining)] if remaining else _clear_status_events()
    unchanged = dynamodb.equals(AgentRow.status_events, [to_stored_event(each) for each in agent.status_events])
    return dynamodb.transact_update(_row(agent.owner, agent.id), actions, unchanged)


def _clear_status_events() -> list[dynamodb.Clause]:
    return [dynamodb.remove(each) for each in (AgentRow.status_events, AgentRow.publish_shard, AgentRow.publish_at)]


def check_schedule(owner: str, agent_id: str, now: int, *, at: int | None = None) -> dict[str, int]:
    """Attributes that put an agent into the sweep's index, to be checked when it may be inactive, or at `at`."""
    return {
        "check_shard": shard(owner, agent_id),
        "check_at": check_at(owner, agent_id, now) if at is None else at,
    }


def delete_item(owner: str, agent_id: str) -> dynamodb.TransactItem:
    """Delete a removed agent's row, as part of a transaction. Fails while it has claims or unpublished events."""
    condition = (
        dynamodb.equals(AgentRow.state, REMOVED) & has_at_most_claims(0) & dynamodb.not_exists(AgentRow.publish_at)
    )
    return dynamodb.transact_delete(_row(owner, agent_id), condition)


def load_agent(owner: str, agent_id: str) -> Agent | None:
    """An agent's row. A removed agent's row is a tombstone until it has no claims."""
    row = dynamodb.get_item(AgentRow, owner, agent_id)
    return None if row is None else to_agent(row)


def clear_pinned_at(agent: Agent, until: int) -> None:
    """No pinned task was found: polls look for one rarely, until `until`, unless another has become claimable."""
    actions = [dynamodb.remove(AgentRow.pinned_at), dynamodb.set_value(AgentRow.pinned_until, until)]
    _update_unless_changed(agent, actions, dynamodb.equals(AgentRow.pinned_at, agent.pinned_at))


def set_pinned_at(agent: Agent, now: int) -> None:
    """A pinned task was found that the index did not contain before: all polls look for it."""
    actions = [dynamodb.set_value(AgentRow.pinned_at, now)]
    _update_unless_changed(agent, actions, is_registered() & dynamodb.not_exists(AgentRow.pinned_at))


def set_search_positions(agent: Agent, positions: Mapping[str, str]) -> None:
    """Store where the search of a long queue ended. Without effect if the agent was removed."""
    actions = dynamodb.set_or_remove(AgentRow, {"search_positions": dict(positions) or None})
    _update_unless_changed(agent, actions, is_registered())


def _update_unless_changed(agent: Agent, actions: list[dynamodb.Clause], unchanged: dynamodb.Clause) -> None:
    with suppress(dynamodb.ConditionFailed):
        dynamodb.update_item(_row(agent.owner, agent.id), actions, unchanged)


def mark_inactive(agent: Agent, check_again_at: int | None, event: StatusEvent | None) -> None:
    """The sweep marks an agent inactive. Raises Conflict if the agent has checked in.

    The sweep checks the agent again at `check_again_at`. If that is None, it does so only after the next check-in.
    """
    actions = [dynamodb.set_value(AgentRow.state, "inactive")]
    if check_again_at is None:
        actions += [dynamodb.remove(AgentRow.check_at), dynamodb.remove(AgentRow.check_shard)]
    else:
        actions.append(dynamodb.set_value(AgentRow.check_at, check_again_at))
    if event is not None:
        actions.append(append_status_events(agent.owner, agent.id, [event]))
    unchanged = dynamodb.equals(AgentRow.seen_at, agent.seen_at) & dynamodb.equals(AgentRow.state, agent.state)
    try:
        dynamodb.update_item(_row(agent.owner, agent.id), actions, unchanged)
    except dynamodb.ConditionFailed:
        raise Conflict from None


def find_due(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the agents in a shard that the sweep must check."""
    due = dynamodb.at_most(AgentRow.check_at, now)
    return dynamodb.query(AgentRow, shard_number, index="live", key_condition=due, limit=limit, start=start)


def sample_states(shard_number: int, maximum: int) -> list[str]:
    """The states of agents in a shard that have a check scheduled; at most `maximum` are read."""
    return [row["state"] for row in dynamodb.query(AgentRow, shard_number, index="live", limit=maximum).rows]


def find_unpublished(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the agents in a shard whose events the sweep must publish."""
    due = dynamodb.at_most(AgentRow.publish_at, now)
    return dynamodb.query(AgentRow, shard_number, index="news", key_condition=due, limit=limit, start=start)


def find_agents(owner: str, query: AgentQuery, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """Keys of an owner's agents, by id."""
    if query.status is None:
        matching = dynamodb.not_equals(AgentRow.state, REMOVED)
    else:
        matching = dynamodb.equals(AgentRow.state, query.status)
    if query.capability is not None:
        matching &= dynamodb.contains(AgentRow.capabilities, query.capability)
    if query.filters():
        limit = max(limit, MIN_ROWS_EXAMINED)
    return dynamodb.query(AgentRow, owner, index="fleet", filter_condition=matching, limit=limit, start=start)


def cursor_key(row: dynamodb.Row) -> dict[str, Any]:
    """The key from which a list continues after this row."""
    return {"owner": {"S": row["owner"]}, "agent": {"S": row["agent"]}}


def load_agents(rows: Sequence[dynamodb.Row]) -> list[Agent]:
    """The agents of some index rows, in their order."""
    found = {row["agent"]: row for row in dynamodb.batch_get(AgentRow, [(row["owner"], row["agent"]) for row in rows])}
    return [to_agent(found[row["agent"]]) for row in rows if row["agent"] in found]


def is_registered() -> dynamodb.Clause:
    """A condition: the agent exists and is no tombstone (`<>` alone is also true if there is no item)."""
    return dynamodb.is_in(AgentRow.state, "active", "inactive", "error")


def accepts_intent(intent: str) -> dynamodb.Clause:
    """A condition: the intent is among the agent's capabilities."""
    return dynamodb.contains(AgentRow.capabilities, intent)


def has_no_rules() -> dynamodb.Clause:
    """A condition: no rule restricts which tasks the agent may claim."""
    return dynamodb.not_exists(AgentRow.repos) & dynamodb.not_exists(AgentRow.submitters)


def has_rules_version(version: str | None) -> dynamodb.Clause:
    """A condition: the agent's rules have not changed since this version. None: they were never set."""
    attribute = AgentRow.rules_version
    return dynamodb.not_exists(attribute) if version is None else dynamodb.equals(attribute, version)


@dynamodb.clause
def has_at_most_claims(maximum: int) -> Any:
    """A condition on the number of the agent's claims."""
    return size(AgentRow.claims) <= maximum


def _row(owner: str, agent_id: str) -> dynamodb.Item:
    return dynamodb.item(AgentRow, owner=owner, agent_id=agent_id)
