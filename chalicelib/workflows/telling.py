"""What has happened, told to whoever wants to know: events of tasks, and agents that came or went.

Each is marked on its row as still to be told. One transaction removes the mark, counts what is to be counted, and puts
a delivery for each webhook that wants it on its way: all of it or nothing, and once, however often this is asked for.
"""

from functools import cache

from pydantic import TypeAdapter

from chalicelib import db
from chalicelib.agents import model, news
from chalicelib.agents import service as agents
from chalicelib.agents.agent import Agent, News
from chalicelib.log import logger
from chalicelib.tasks import outbox
from chalicelib.types import Id, Request
from chalicelib.webhooks import fanout
from chalicelib.webhooks.webhook import Delivery, Happening

AT_ONCE = 2
"""How many news of an agent are told in one transaction, which may have a hundred parts."""


class Happened(Request):
    """A message of the queue of events: an event of a task."""

    owner: Id
    task: Id
    event: str


class CameOrWent(Request):
    """Another one: an agent with news."""

    owner: Id
    agent: Id


@cache
def _messages() -> TypeAdapter[Happened | CameOrWent]:
    return TypeAdapter(Happened | CameOrWent)  # built where it is used: most functions never do


def announce(body: str, now: int) -> None:
    """Handle one message of the queue of events. May run twice, late, or for an event that is gone."""
    message = _messages().validate_json(body)
    if isinstance(message, Happened):
        tell_of_task(message.owner, message.task, message.event, now)
    else:
        tell_of_agent(message.owner, message.agent, now)


def tell_of_task(owner: str, task: str, key: str, now: int) -> None:
    """Announce an event of a task, if that was not done before."""
    event = outbox.unsent(owner, task, key)
    if event is None:
        logger.info("an event that was announced before", extra={"task": task})
        return
    listening = [endpoint for endpoint in fanout.endpoints(owner) if endpoint.wants(event.type)]
    new: list[Delivery] = []
    data = outbox.told(owner, task, event, now) if listening else None
    if data is not None:
        happening = Happening(event.type, f"{task} {key}", event.at, event.sequence, data)
        new = fanout.deliveries(listening, happening, now)
    mark, counts = outbox.announced(owner, task, key, event)
    try:
        db.write(mark, *counts, *fanout.parts(new))
    except db.Cancelled as cancelled:
        if 0 not in cancelled.rows:  # the user is gone; so is whoever wanted to know
            db.write(mark)
        return
    fanout.send(new)


def tell_of_agent(owner: str, agent_id: str, now: int) -> None:
    """Tell that an agent came or went, as often as it did and that was not told before."""
    while (agent := agents.load(owner, agent_id)) is not None and agent.news:
        if not _tell(agent, agent.news[:AT_ONCE], now):
            return


def _tell(agent: Agent, told: list[News], now: int) -> bool:
    """Tell some of an agent's news; False where somebody else did, or there are more by now: the next time does."""
    endpoints = fanout.endpoints(agent.owner)
    new: list[Delivery] = []
    for each in told:
        happening = Happening(each.event, agent.id, each.at, each.at * 10, model.told(agent, each))
        new += fanout.deliveries([endpoint for endpoint in endpoints if endpoint.wants(each.event)], happening, now)
    try:
        db.write(news.told(agent, len(told)), *fanout.parts(new))
    except db.Cancelled:
        return False
    fanout.send(new)
    return True
