"""Status events: an agent became active or inactive. Each is published at least once.

An event is stored on the agent's row in the same write as the change, so a heartbeat needs no further request. The
write also puts the row into an index of the sweep. The process that made the change sends the agent's key to the queue
of events. If the message is lost or late, the sweep publishes the event. Publishing removes the event in the same
transaction that creates its deliveries.
"""

from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import store
from chalicelib.agents.entities import Agent
from chalicelib.aws import sqs


def send_to_queue(owner: str, agent_id: str) -> bool:
    """Send the key of an agent with unpublished events to the queue of events. False if that failed."""
    return sqs.send("events", {"owner": owner, "agent": agent_id})


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the agents in a shard whose events the sweep must publish."""
    return store.find_unpublished(shard, now, start, limit)


def published_item(agent: Agent, count: int) -> dynamodb.TransactItem:
    """Remove the first `count` events of an agent, in the transaction that publishes them. Fails if already removed."""
    return store.published_item(agent, count)
