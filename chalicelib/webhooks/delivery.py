"""Delivers webhooks: handles the messages of the webhooks queue, and resends the messages of overdue deliveries.

The row of a delivery decides what happens; a message only means that the delivery may be due. A process claims the
delivery (a lease, so that a delivery survives the process), acquires a slot of its endpoint, sends the request, saves
the result, and releases the slot.

An endpoint has a limited number of slots, and fewer while it is slow or fails. A delivery that finds no free slot is
deferred. So a receiver that never responds occupies few of the shared requests, and does not delay other endpoints.
"""

import random
import secrets
from typing import Any

from pydantic import Field

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
"""Enough tries for every slot: a failed try means that another delivery acquired the slot."""

_METRIC_BY_STATUS = {"delivered": "WebhooksDelivered", "pending": "WebhooksRetried", "failed": "WebhooksFailed"}
"""The metric to record after an attempt, by the delivery's new status."""


class DeliveryMessage(InputModel):
    """A message of the webhooks queue. It contains only ids."""

    owner: Id
    webhook_id: Id = Field(validation_alias="webhook")
    delivery_id: Id = Field(validation_alias="delivery")


def deliver(body: str, now: int) -> None:
    """Handle one message of the webhooks queue. A message may arrive twice, early or late, or for a deleted
    delivery."""
    message = DeliveryMessage.model_validate_json(body)
    owner, webhook_id = message.owner, message.webhook_id
    until = now + DELIVERY_LEASE
    try:
        delivery = store.claim_delivery(
            owner, webhook_id, message.delivery_id, secrets.token_hex(8), now + rules.CLOCK_SKEW, until
        )
    except dynamodb.ConditionFailed:
        return  # it has ended, is not due yet, or is being sent by another process, which sets its next time
    acquired = _acquire_slot(owner, webhook_id, now, until)
    if acquired is None:
        store.delete_delivery(owner, webhook_id, message.delivery_id, delivery.claim or "")
        return
    endpoint, slot = acquired
    if not endpoint.enabled:
        store.save_delivery(delivery, rules.fail(delivery, "The webhook is disabled.", now), now)
        metrics.record("WebhooksFailed")
    elif slot is None:
        _save_and_schedule(delivery, rules.defer(delivery, endpoint, now, _random()), now)
    else:
        _attempt_delivery(delivery, endpoint, slot, now)


def _acquire_slot(owner: str, webhook_id: str, now: int, until: int) -> tuple[Endpoint, str | None] | None:
    """Acquire a slot of an endpoint until `until`. Returns the endpoint and the slot, or None where it does not exist.

    The slot is None where all slots are in use, the receiver asked for a pause, or the endpoint is disabled.
    """
    endpoint: Endpoint | None = None
    slot: str | None = str(int(_random() * SLOTS))
    for _ in range(_MAX_TRIES):
        try:
            return store.acquire_slot(owner, webhook_id, slot or "", until, now, known=endpoint), slot
        except dynamodb.ConditionFailed as failed:
            if failed.row is None:
                return None
            endpoint = tables.to_endpoint(failed.row)
        slot = rules.choose_free_slot(endpoint, now, _random())
        if not endpoint.enabled or (endpoint.not_before or 0) > now:
            return endpoint, None
        if slot is None:
            break
    assert endpoint is not None
    return endpoint, None


def _attempt_delivery(delivery: Delivery, endpoint: Endpoint, slot: str, now: int) -> None:
    headers = http_client.signature_headers(
        delivery.id, endpoint.active_secrets(now), delivery.body, delivery.sequence, now
    )
    timeout = settings.webhook_timeout / SECOND
    result = http_client.post_webhook(
        endpoint.url, headers, delivery.body.encode(), seconds=timeout, local=settings.local
    )
    ended = now + result.ms
    attempt = DeliveryAttempt(at=now, ms=result.ms, status=result.status, error=result.error, text=result.text)
    wait = rules.requested_wait(result.status, result.retry_after, ended)
    after = rules.after_attempt(delivery, attempt, wait, ended, _random())
    _save_and_schedule(delivery, after, ended)
    metrics.record(_METRIC_BY_STATUS[after.status])
    endpoint_after = rules.endpoint_after_attempt(endpoint, attempt, wait, ended)
    if store.save_attempt_result(endpoint, endpoint_after, slot, now + DELIVERY_LEASE):
        if not endpoint_after.enabled:
            why = endpoint_after.disabled_reason
            logger.warning("a webhook was disabled", extra={"webhook": endpoint.id, "why": why})
    else:  # the user changed the endpoint meanwhile, so this attempt's result does not apply to it
        store.release_slot(endpoint, slot, now + DELIVERY_LEASE)


def _save_and_schedule(before: Delivery, after: Delivery, now: int) -> None:
    """Save a delivery after an attempt or a deferral. Send a message for its next attempt if that is due within
    MAX_DELAY; otherwise the sweep sends it later."""
    if store.save_delivery(before, after, now) and after.next_at is not None and after.next_at - now <= MAX_DELAY:
        fanout.send_delivery(after, max(0, after.next_at - now))


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the deliveries in a shard that the sweep must process."""
    return store.find_due(shard, now, start, limit)


def resend(key: dynamodb.Row, now: int) -> bool:
    """Send the message of an overdue delivery, and have the sweep check the delivery again after a growing interval.

    Returns False where another process has handled the delivery, or the queue did not accept the message.
    """
    if not store.postpone(key, now):
        return False
    return sqs.send("webhooks", tables.message_keys(key))


def _random() -> float:
    return random.random()  # noqa: S311  # jitter, no secret
