"""Delivering: what a message of the queue of webhooks asks for, and what the sweep does about deliveries.

A delivery's row decides: a message only says that its time may have come. Whoever comes takes it (a lease, so that
nothing is lost with a process), takes a lane to its endpoint, sends, notes what came of it, and leaves the lane. An
endpoint has only so many lanes, fewer when it is slow or fails; what finds none comes back later. So an endpoint that
never answers takes up a few places of the many that all share, and delays nobody else's deliveries.
"""

import random
import secrets
from typing import Any

from chalicelib import db, metrics, queue
from chalicelib.log import logger
from chalicelib.queue import LONGEST_DELAY
from chalicelib.settings import SECOND, settings
from chalicelib.types import Id, Request
from chalicelib.webhooks import fanout, model, rows, sending, store
from chalicelib.webhooks.lanes import LANES
from chalicelib.webhooks.model import LEASE
from chalicelib.webhooks.webhook import Attempt, Delivery, Endpoint

_TRIES = 2 * LANES
"""Each try in vain is another's success."""


_OUTCOMES = {"delivered": "WebhooksDelivered", "pending": "WebhooksRetried", "failed": "WebhooksFailed"}
"""The metric of what an attempt made of a delivery."""


class Due(Request):
    """A message of the queue of webhooks: keys alone."""

    owner: Id
    webhook: Id
    delivery: Id


def deliver(body: str, now: int) -> None:
    """Handle one message of the queue of webhooks. May run twice, early, late, or for what is gone."""
    message = Due.model_validate_json(body)
    owner, webhook = message.owner, message.webhook
    until = now + LEASE
    try:
        mine = store.claim(owner, webhook, message.delivery, secrets.token_hex(8), now + model.EARLY, until)
    except db.Failed:
        return  # it has ended, is under way, or its time has not come: whoever is at it has given it its next one
    found = _lane(owner, webhook, now, until)
    if found is None:
        store.remove(owner, webhook, message.delivery, mine.claim or "")
        return
    endpoint, lane = found
    if not endpoint.enabled:
        store.save(mine, model.failed(mine, "Its webhook is disabled.", now), now)
        metrics.note("WebhooksFailed")
    elif lane is None:
        _later(mine, model.deferred(mine, endpoint, now, _chance()), now)
    else:
        _attempt(mine, endpoint, lane, now)


def _lane(owner: str, webhook: str, now: int, until: int) -> tuple[Endpoint, str | None] | None:
    """The endpoint, and a lane to it that was taken: None where it is busy, wants to be left alone, or is disabled.
    Nothing where it is gone."""
    known: Endpoint | None = None
    lane: str | None = str(int(_chance() * LANES))
    for _ in range(_TRIES):
        try:
            return store.take_lane(owner, webhook, lane or "", until, now, known=known), lane
        except db.Failed as failed:
            if failed.row is None:
                return None
            known = rows.to_endpoint(failed.row)
        lane = model.free_lane(known, now, _chance())
        if not known.enabled or (known.not_before or 0) > now:
            return known, None
        if lane is None:
            break
    assert known is not None
    return known, None


def _attempt(mine: Delivery, endpoint: Endpoint, lane: str, now: int) -> None:
    headers = sending.signed(mine.id, endpoint.signs_with(now), mine.body, mine.sequence, now)
    timeout = settings.webhook_timeout / SECOND
    answered = sending.post(endpoint.url, headers, mine.body.encode(), seconds=timeout, local=settings.local)
    ended = now + answered.ms
    attempt = Attempt(at=now, ms=answered.ms, status=answered.status, error=answered.error, text=answered.text)
    wait = model.wait_asked(answered.status, answered.retry_after, ended)
    after = model.attempted(mine, attempt, wait, ended, _chance())
    _later(mine, after, ended)
    metrics.note(_OUTCOMES[after.status])
    judged = model.judged(endpoint, attempt, wait, ended)
    if store.leave_lane(endpoint, judged, lane, now + LEASE):
        if not judged.enabled:
            logger.warning("a webhook was disabled", extra={"webhook": endpoint.id, "why": judged.disabled_because})
    else:  # its user has changed it meanwhile: what the old one did says nothing of the new one
        store.only_leave(endpoint, lane, now + LEASE)


def _later(before: Delivery, after: Delivery, now: int) -> None:
    """Save what became of a delivery; a message brings it back where its time is near, else the sweep does."""
    if store.save(before, after, now) and after.next_at is not None and after.next_at - now <= LONGEST_DELAY:
        fanout.send_one(after, max(0, after.next_at - now))


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of deliveries that the sweep must look after."""
    return store.due(shard, now, start, limit)


def take_up(key: db.Row, now: int) -> bool:
    """What the sweep does with a delivery whose time has come: send its message, and look again later."""
    if not store.look_again(key, now + model.MESSAGE_LATE, now):
        return False
    return queue.send("webhooks", rows.names(key))


def _chance() -> float:
    return random.random()  # noqa: S311  # jitter, no secret
