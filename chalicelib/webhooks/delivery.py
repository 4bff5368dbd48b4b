"""Delivering: what a message of the queue of webhooks asks for, and what the sweep does about deliveries.

A delivery's row decides: a message only says that its time may have come. Whoever comes takes it (a lease, so that
nothing is lost with a process), takes a lane to its endpoint, sends, notes what came of it, and leaves the lane. An
endpoint has only so many lanes, fewer when it is slow or fails; what finds none comes back later. So an endpoint that
never answers takes up a few places of the many that all share, and delays nobody else's deliveries.
"""

import random
import secrets
from typing import Any

from chalicelib import dynamodb
from chalicelib.aws import sqs
from chalicelib.aws.sqs import MAX_DELAY
from chalicelib.core import metrics
from chalicelib.core.log import logger
from chalicelib.core.models import Id, InputModel
from chalicelib.core.settings import SECOND, settings
from chalicelib.webhooks import fanout, http_client, rules, store, tables
from chalicelib.webhooks.concurrency import SLOTS
from chalicelib.webhooks.entities import Delivery, DeliveryAttempt, Endpoint
from chalicelib.webhooks.rules import DELIVERY_LEASE

_MAX_TRIES = 2 * SLOTS
"""Each try in vain is another's success."""


_METRIC_BY_STATUS = {"delivered": "WebhooksDelivered", "pending": "WebhooksRetried", "failed": "WebhooksFailed"}
"""The metric of what an attempt made of a delivery."""


class DeliveryMessage(InputModel):
    """A message of the queue of webhooks: keys alone."""

    owner: Id
    webhook: Id
    delivery: Id


def deliver(body: str, now: int) -> None:
    """Handle one message of the queue of webhooks. May run twice, early, late, or for what is gone."""
    message = DeliveryMessage.model_validate_json(body)
    owner, webhook = message.owner, message.webhook
    until = now + DELIVERY_LEASE
    try:
        mine = store.claim_delivery(
            owner, webhook, message.delivery, secrets.token_hex(8), now + rules.CLOCK_SKEW, until
        )
    except dynamodb.ConditionFailed:
        return  # it has ended, is under way, or its time has not come: whoever is at it has given it its next one
    found = _acquire_slot(owner, webhook, now, until)
    if found is None:
        store.delete_delivery(owner, webhook, message.delivery, mine.claim or "")
        return
    endpoint, lane = found
    if not endpoint.enabled:
        store.save_delivery(mine, rules.fail(mine, "Its webhook is disabled.", now), now)
        metrics.record("WebhooksFailed")
    elif lane is None:
        _save_and_schedule(mine, rules.defer(mine, endpoint, now, _random()), now)
    else:
        _attempt_delivery(mine, endpoint, lane, now)


def _acquire_slot(owner: str, webhook_id: str, now: int, until: int) -> tuple[Endpoint, str | None] | None:
    """The endpoint, and a lane to it that was taken: None where it is busy, wants to be left alone, or is disabled.
    Nothing where it is gone."""
    known: Endpoint | None = None
    lane: str | None = str(int(_random() * SLOTS))
    for _ in range(_MAX_TRIES):
        try:
            return store.acquire_slot(owner, webhook_id, lane or "", until, now, known=known), lane
        except dynamodb.ConditionFailed as failed:
            if failed.row is None:
                return None
            known = tables.to_endpoint(failed.row)
        lane = rules.free_slot(known, now, _random())
        if not known.enabled or (known.not_before or 0) > now:
            return known, None
        if lane is None:
            break
    assert known is not None
    return known, None


def _attempt_delivery(delivery: Delivery, endpoint: Endpoint, slot: str, now: int) -> None:
    headers = http_client.signature_headers(
        delivery.id, endpoint.active_secrets(now), delivery.body, delivery.sequence, now
    )
    timeout = settings.webhook_timeout / SECOND
    answered = http_client.post_webhook(
        endpoint.url, headers, delivery.body.encode(), seconds=timeout, local=settings.local
    )
    ended = now + answered.ms
    attempt = DeliveryAttempt(at=now, ms=answered.ms, status=answered.status, error=answered.error, text=answered.text)
    wait = rules.requested_wait(answered.status, answered.retry_after, ended)
    after = rules.after_attempt(delivery, attempt, wait, ended, _random())
    _save_and_schedule(delivery, after, ended)
    metrics.record(_METRIC_BY_STATUS[after.status])
    judged = rules.endpoint_after_attempt(endpoint, attempt, wait, ended)
    if store.release_slot(endpoint, judged, slot, now + DELIVERY_LEASE):
        if not judged.enabled:
            logger.warning("a webhook was disabled", extra={"webhook": endpoint.id, "why": judged.disabled_reason})
    else:  # its user has changed it meanwhile: what the old one did says nothing of the new one
        store.free_slot(endpoint, slot, now + DELIVERY_LEASE)


def _save_and_schedule(before: Delivery, after: Delivery, now: int) -> None:
    """Save what became of a delivery; a message brings it back where its time is near, else the sweep does."""
    if store.save_delivery(before, after, now) and after.next_at is not None and after.next_at - now <= MAX_DELAY:
        fanout.send_delivery(after, max(0, after.next_at - now))


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of deliveries that the sweep must look after."""
    return store.find_due(shard, now, start, limit)


def resend(key: dynamodb.Row, now: int) -> bool:
    """What the sweep does with a delivery whose time has come: send its message, and look again later."""
    if not store.postpone(key, now + rules.SWEEP_DELAY, now):
        return False
    return sqs.send("webhooks", tables.message_keys(key))


def _random() -> float:
    return random.random()  # noqa: S311  # jitter, no secret
