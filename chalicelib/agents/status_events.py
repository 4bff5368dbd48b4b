"""That an agent came or went, told at least once.

It is left on the agent's row in the write that makes it so, which puts the row into an index of the sweep; a heartbeat
costs no request more. Whoever wrote it also puts the agent's key on the queue of events, at best; failing that, the
sweep does. Telling removes it in the transaction that puts it on its way.
"""

from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import store
from chalicelib.agents.entities import Agent
from chalicelib.agents.rules import PUBLISH_WITHIN
from chalicelib.aws import sqs


def send_to_queue(owner: str, agent_id: str) -> bool:
    """Put an agent with news on the queue of events; False where that would not take it, and the sweep will."""
    return sqs.send("events", {"owner": owner, "agent": agent_id})


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of agents whose news the sweep must take up."""
    return store.find_unpublished(shard, now, start, limit)


def resend(key: dynamodb.Row, now: int) -> bool:
    """What the sweep does with news that are still to be told: send them, and look again later."""
    if not store.postpone_status_events(key["owner"], key["agent"], now + PUBLISH_WITHIN):
        return False
    return send_to_queue(key["owner"], key["agent"])


def published_item(agent: Agent, count: int) -> dynamodb.TransactItem:
    """Part of a transaction: the first so many of an agent's news were told. Fails where they were before."""
    return store.published_item(agent, count)
