"""What has happened, told to whoever wants to know: events of tasks, and agents that came or went.

Each is marked on its row as still to be told. One transaction removes the mark, counts what is to be counted, and puts
a delivery for each webhook that wants it on its way: all of it or nothing, and once, however often this is asked for.
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
"""How many news of an agent are told in one transaction, which may have a hundred parts."""


class TaskEventMessage(InputModel):
    """A message of the queue of events: an event of a task."""

    owner: Id
    task_id: Id = Field(validation_alias="task")
    event: str


class AgentEventMessage(InputModel):
    """Another one: an agent with news."""

    owner: Id
    agent_id: Id = Field(validation_alias="agent")


@cache
def _message_type() -> TypeAdapter[TaskEventMessage | AgentEventMessage]:
    return TypeAdapter(TaskEventMessage | AgentEventMessage)  # built where it is used: most functions never do


def handle_message(body: str, now: int) -> None:
    """Handle one message of the queue of events. May run twice, late, or for an event that is gone."""
    message = _message_type().validate_json(body)
    if isinstance(message, TaskEventMessage):
        publish_task_event(message.owner, message.task_id, message.event, now)
    else:
        publish_agent_events(message.owner, message.agent_id, now)


def publish_task_event(owner: str, task_id: str, key: str, now: int) -> None:
    """Announce an event of a task, if that was not done before."""
    event = outbox.load_unpublished(owner, task_id, key)
    if event is None:
        logger.info("an event that was announced before", extra={"task": task_id})
        return
    listening = [endpoint for endpoint in fanout.find_endpoints(owner) if endpoint.wants(event.type)]
    new: list[Delivery] = []
    data = outbox.load_payload(owner, task_id, event, now) if listening else None
    if data is not None:
        happening = WebhookEvent(event.type, f"{task_id} {key}", event.at, event.sequence, data)
        new = fanout.create_deliveries(listening, happening, now)
    mark, counts = outbox.published_items(owner, task_id, key, event)
    try:
        dynamodb.transact_write(mark, *counts, *fanout.delivery_items(new))
    except dynamodb.TransactionCancelled as cancelled:
        if 0 not in cancelled.rows:  # the user is gone; so is whoever wanted to know
            dynamodb.transact_write(mark)
        return
    fanout.send_deliveries(new)


def publish_agent_events(owner: str, agent_id: str, now: int) -> None:
    """Tell that an agent came or went, as often as it did and that was not told before."""
    while (agent := agents.load_agent(owner, agent_id)) is not None and agent.status_events:
        if not _publish_status_events(agent, agent.status_events[:EVENTS_PER_TRANSACTION], now):
            return


def _publish_status_events(agent: Agent, events: list[StatusEvent], now: int) -> bool:
    """Tell some of an agent's news; False where somebody else did, or there are more by now: the next time does."""
    endpoints = fanout.find_endpoints(agent.owner)
    new: list[Delivery] = []
    for each in events:
        happening = WebhookEvent(each.event, agent.id, each.at, each.at * 10, rules.status_event_payload(agent, each))
        new += fanout.create_deliveries(
            [endpoint for endpoint in endpoints if endpoint.wants(each.event)], happening, now
        )
    try:
        dynamodb.transact_write(status_events.published_item(agent, len(events)), *fanout.delivery_items(new))
    except dynamodb.TransactionCancelled:
        return False
    fanout.send_deliveries(new)
    return True
