"""The event publisher: publishes the events of tasks, and those of agents that became active or inactive.

The row of each event is marked as unpublished. One write removes the mark. If webhooks subscribe to the event, it is a
transaction that also creates a delivery for each of them. So an event is published exactly once, however often its
message arrives. No write is to a row that other tasks write too, except for the count of the owner's open tasks, which
is spread over several rows and is never part of a transaction.
"""

from functools import cache

from pydantic import Field, TypeAdapter

from chalicelib import dynamodb
from chalicelib.agents import rules, status_events
from chalicelib.agents import service as agents
from chalicelib.agents.entities import Agent, StatusEvent
from chalicelib.core.log import logger
from chalicelib.core.models import Id, InputModel
from chalicelib.tasks import outbox
from chalicelib.webhooks import fanout
from chalicelib.webhooks.entities import Delivery, WebhookEvent

EVENTS_PER_TRANSACTION = 2
"""How many events of an agent one transaction publishes. A transaction may have a hundred items."""


class TaskEventMessage(InputModel):
    """A message of the events queue: the key of an event of a task."""

    owner: Id
    task_id: Id = Field(validation_alias="task")
    event: str


class AgentEventMessage(InputModel):
    """A message of the events queue: the id of an agent with unpublished events."""

    owner: Id
    agent_id: Id = Field(validation_alias="agent")


@cache
def _message_type() -> TypeAdapter[TaskEventMessage | AgentEventMessage]:
    return TypeAdapter(TaskEventMessage | AgentEventMessage)  # built at first use: most functions never need it


def handle_message(body: str, now: int) -> None:
    """Handle one message of the events queue. A message may arrive twice or late, or for an event that was deleted."""
    message = _message_type().validate_json(body)
    if isinstance(message, TaskEventMessage):
        publish_task_event(message.owner, message.task_id, message.event, now)
    else:
        publish_agent_events(message.owner, message.agent_id, now)


def publish_task_event(owner: str, task_id: str, key: str, now: int) -> bool:
    """Publish an event of a task. Returns False if it was published before, or at the same time by another process."""
    unpublished = outbox.load_unpublished(owner, task_id, key)
    if unpublished is None:
        logger.info("the event was published before", extra={"task": task_id})
        return False
    event = unpublished.event
    endpoints = [endpoint for endpoint in fanout.find_endpoints(owner) if endpoint.wants(event.type)]
    deliveries: list[Delivery] = []
    data = outbox.load_payload(owner, task_id, event, now) if endpoints else None
    if data is not None:
        webhook_event = WebhookEvent(event.type, f"{task_id} {key}", event.at, event.sequence, data)
        deliveries = fanout.create_deliveries(endpoints, webhook_event, now)
    if not _save_published(unpublished, deliveries):
        return False
    fanout.send_deliveries(deliveries)
    outbox.count_published(unpublished, now)
    return True


def _save_published(unpublished: outbox.UnpublishedEvent, deliveries: list[Delivery]) -> bool:
    """Mark an event as published, and store its deliveries. False if another process was faster."""
    if not deliveries:
        return outbox.save_published(unpublished)
    try:
        dynamodb.transact_write(outbox.published_item(unpublished), *fanout.delivery_items(deliveries))
    except dynamodb.TransactionCancelled:
        return False
    return True


def publish_agent_events(owner: str, agent_id: str, now: int) -> bool:
    """Publish every unpublished event of an agent, oldest first. Returns False if there was none."""
    published = False
    while (agent := agents.load_agent(owner, agent_id)) is not None and agent.status_events:
        if not _publish_status_events(agent, agent.status_events[:EVENTS_PER_TRANSACTION], now):
            break
        published = True
    return published


def _publish_status_events(agent: Agent, events: list[StatusEvent], now: int) -> bool:
    """Publish some of an agent's events. Returns False where another process changed them meanwhile.

    Then that process, a later message or the sweep publishes the rest.
    """
    endpoints = fanout.find_endpoints(agent.owner)
    deliveries: list[Delivery] = []
    for event in events:
        payload = rules.status_event_payload(agent, event)
        webhook_event = WebhookEvent(event.event, agent.id, event.at, event.sequence, payload)
        deliveries += fanout.create_deliveries(
            [endpoint for endpoint in endpoints if endpoint.wants(event.event)], webhook_event, now
        )
    try:
        dynamodb.transact_write(status_events.published_item(agent, len(events)), *fanout.delivery_items(deliveries))
    except dynamodb.TransactionCancelled:
        return False
    fanout.send_deliveries(deliveries)
    return True
