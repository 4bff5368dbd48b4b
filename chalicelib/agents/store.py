"""Named queries and conditional writes on the table `agents`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pynamodb.expressions.condition import size

from chalicelib import db
from chalicelib.agents.agent import REMOVED, Agent, News
from chalicelib.agents.model import TOLD_WITHIN, check_at
from chalicelib.agents.rows import AgentRow, shard, stored, to_agent
from chalicelib.agents.shapes import AgentQuery
from chalicelib.errors import Conflict
from chalicelib.pages import EXAMINED


def new(agent: Agent) -> db.Part:
    """Part of a transaction: the item of an agent that is not there yet."""
    at = agent.news[-1].at if agent.news else None
    row = AgentRow(
        agent.owner,
        agent.id,
        name=agent.name,
        version=agent.version,
        platform=agent.platform,
        capabilities=agent.capabilities,
        concurrency=agent.concurrency,
        state=agent.state,
        machine={},
        ver=agent.ver,
        registration=agent.registration,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        seen_at=agent.seen_at,
        worked_at=agent.worked_at,
        held={},
        calls={},
        check_shard=shard(agent.owner, agent.id),
        check_at=check_at(agent.seen_at),
        news=[stored(each) for each in agent.news] or None,
        news_shard=None if at is None else shard(agent.owner, agent.id),
        news_at=None if at is None else at + TOLD_WITHIN,
    )
    return db.put(row, AgentRow.owner.does_not_exist())


def change(
    owner: str,
    agent: str,
    values: Mapping[str, Any],
    *,
    ver: str | None = None,
    state: str | None = None,
    back: News | None = None,
) -> Agent:
    """Set some attributes (None removes one) and return the agent as it is then.

    `back`: with the news that it is there again. Raises db.Failed where there is no such agent, or its `state` or the
    version of its token is another, where these are given.
    """
    actions = db.assigned(AgentRow, values)
    if back is not None:
        actions.append(to_tell(owner, agent, back))
    condition = registered() if state is None else AgentRow.state == state
    return to_agent(
        db.update(AgentRow(owner, agent), actions, condition if ver is None else condition & (AgentRow.ver == ver))
    )


def to_tell(owner: str, agent: str, news: News) -> db.Clause:
    """What leaves news on an agent's row, in the write of the change that it tells, and puts the row into the index of
    news."""
    return _to_tell([stored(news)], [], shard(owner, agent), news.at + TOLD_WITHIN)


@db.clause
def _to_tell(news: Any, none: Any, shard_number: int, at: int) -> Any:
    more = (AgentRow.news | none).append(news)
    return [AgentRow.news.set(more), AgentRow.news_shard.set(shard_number), AgentRow.news_at.set(at)]


def told(agent: Agent, many: int) -> db.Part:
    """Part of a transaction: the first so many of an agent's news were told. Fails where they were before, or the agent
    has others by now."""
    rest = agent.news[many:]
    actions = [AgentRow.news.set([stored(each) for each in rest])] if rest else _nothing_to_tell()
    return db.change(AgentRow(agent.owner, agent.id), actions, AgentRow.news == [stored(each) for each in agent.news])


def _nothing_to_tell() -> list[Any]:
    return [AgentRow.news.remove(), AgentRow.news_shard.remove(), AgentRow.news_at.remove()]


def tell_later(owner: str, agent: str, at: int) -> bool:
    """Look at news that are still to be told again at another time; False where they were told meanwhile."""
    try:
        db.update(AgentRow(owner, agent), [AgentRow.news_at.set(at)], AgentRow.news_at.exists())
    except db.Failed:
        return False
    return True


def watched(owner: str, agent: str, now: int, *, at: int | None = None) -> dict[str, int]:
    """Attributes that put an agent into the sweep's index, to be looked at when it would be silent, or `at`."""
    return {"check_shard": shard(owner, agent), "check_at": check_at(now) if at is None else at}


def delete(owner: str, agent: str) -> db.Part:
    """Part of a transaction: a removed agent's row goes, once it holds nothing and all its news were told."""
    nothing = (size(AgentRow.held) == 0) & AgentRow.news_at.does_not_exist()
    return db.remove(AgentRow(owner, agent), (AgentRow.state == REMOVED) & nothing)


def load(owner: str, agent: str) -> Agent | None:
    """An agent's row, a removed one's too: until it holds nothing, it is there as a tombstone."""
    row = db.get(AgentRow, owner, agent)
    return None if row is None else to_agent(row)


def forget_pinned(agent: Agent) -> None:
    """No pinned task was found though one had been announced: do not look again, unless another came since."""
    try:
        db.update(AgentRow(agent.owner, agent.id), [AgentRow.pinned_at.remove()], AgentRow.pinned_at == agent.pinned_at)
    except db.Failed:
        return


def mark(agent: Agent, look_again_at: int | None, news: News | None) -> None:
    """The sweep marks a silent agent inactive. Raises Conflict if the agent was heard of meanwhile."""
    again = (
        [AgentRow.check_at.set(look_again_at)]
        if look_again_at is not None
        else [AgentRow.check_at.remove(), AgentRow.check_shard.remove()]
    )
    try:
        db.update(
            AgentRow(agent.owner, agent.id),
            [AgentRow.state.set("inactive"), *again, *([] if news is None else [to_tell(agent.owner, agent.id, news)])],
            (AgentRow.seen_at == agent.seen_at) & (AgentRow.state == agent.state),
        )
    except db.Failed:
        raise Conflict from None


def due(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of agents that the sweep must look at."""
    return db.query(AgentRow, shard_number, index="live", within=AgentRow.check_at <= now, limit=limit, start=start)


def living(shard_number: int, most: int) -> list[str]:
    """The states of the agents that the sweep has to look at one day; at most `most` are read."""
    return [row["state"] for row in db.query(AgentRow, shard_number, index="live", limit=most).rows]


def untold(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of agents whose news the sweep must take up."""
    return db.query(AgentRow, shard_number, index="news", within=AgentRow.news_at <= now, limit=limit, start=start)


def find(owner: str, query: AgentQuery, limit: int, start: dict[str, Any] | None) -> db.Page:
    """Keys of a user's agents, by id."""
    matching = AgentRow.state != REMOVED if query.status is None else AgentRow.state == query.status
    if query.capability is not None:
        matching &= AgentRow.capabilities.contains(query.capability)
    if query.filters():
        limit = max(limit, EXAMINED)
    return db.query(AgentRow, owner, index="fleet", matching=matching, limit=limit, start=start)


def key(row: db.Row) -> dict[str, Any]:
    """Where a list goes on after this row."""
    return {"owner": {"S": row["owner"]}, "agent": {"S": row["agent"]}}


def load_all(rows: Sequence[db.Row]) -> list[Agent]:
    found = {row["agent"]: row for row in db.get_many(AgentRow, [(row["owner"], row["agent"]) for row in rows])}
    return [to_agent(found[row["agent"]]) for row in rows if row["agent"] in found]


def registered() -> Any:
    """In a condition: the agent is there, and not a tombstone (`<>` alone would hold where there is no item)."""
    return AgentRow.state.is_in("active", "inactive", "error")


def how_many_held() -> Any:
    """In a condition: the number of tasks that the agent holds."""
    return size(AgentRow.held)
