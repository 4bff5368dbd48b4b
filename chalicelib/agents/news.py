"""That an agent came or went, told at least once.

It is left on the agent's row in the write that makes it so, which puts the row into an index of the sweep; a heartbeat
costs no request more. Whoever wrote it also puts the agent's key on the queue of events, at best; failing that, the
sweep does. Telling removes it in the transaction that puts it on its way.
"""

from typing import Any

from chalicelib import db, queue
from chalicelib.agents import store
from chalicelib.agents.agent import Agent
from chalicelib.agents.model import TOLD_WITHIN


def send(owner: str, agent: str) -> bool:
    """Put an agent with news on the queue of events; False where that would not take it, and the sweep will."""
    return queue.send("events", {"owner": owner, "agent": agent})


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of agents whose news the sweep must take up."""
    return store.untold(shard, now, start, limit)


def take_up(key: db.Row, now: int) -> bool:
    """What the sweep does with news that are still to be told: send them, and look again later."""
    if not store.tell_later(key["owner"], key["agent"], now + TOLD_WITHIN):
        return False
    return send(key["owner"], key["agent"])


def told(agent: Agent, many: int) -> db.Part:
    """Part of a transaction: the first so many of an agent's news were told. Fails where they were before."""
    return store.told(agent, many)
