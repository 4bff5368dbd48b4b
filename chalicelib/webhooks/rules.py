"""The rules of webhooks: when a delivery is retried, and when an endpoint is disabled. No I/O.

Time is an argument (epoch milliseconds), and so is `chance` (a random number from 0 to below 1).
"""

from email.utils import parsedate_to_datetime
from typing import Any

from chalicelib.core.errors import Conflict
from chalicelib.core.settings import DAY, HOUR, MINUTE, SECOND, settings
from chalicelib.core.text import fingerprint
from chalicelib.core.timestamps import iso
from chalicelib.webhooks.concurrency import SLOTS, SLOTS_WHEN_SLOW
from chalicelib.webhooks.entities import Delivery, DeliveryAttempt, Endpoint, SigningSecret, WebhookEvent

SCHEDULE = (0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR)
"""The pause before each attempt, counted from the attempt before it."""
JITTER = 0.1
"""The part of a pause by which it may be longer."""

MAX_WAIT = 10 * HOUR
"""The longest pause that a receiver may ask for (Retry-After)."""
DISABLE_AFTER = 5 * DAY
"""An endpoint is disabled after failing for so long without a success."""
MAX_FAILURE_GAP = DAY
"""Failures that are further apart are not counted as one series of failures."""
MAX_DELIVERY_TIME = 7 * DAY
"""A delivery fails after this time even where its endpoint was too busy for all attempts."""
RETENTION = 30 * DAY

SLOW_RESPONSE = 3 * SECOND
FIRST_DEFERRAL, MAX_DEFERRAL = 2 * SECOND, 5 * MINUTE

DELIVERY_LEASE = settings.webhook_timeout + 30 * SECOND
"""How long a process may hold the claim of a delivery."""
SWEEP_DELAY = MINUTE
"""How long after the due time of a delivery the sweep processes it, where a message was sent for that time."""
MAX_RESEND_INTERVAL = HOUR
"""The longest time after which the sweep sends the message of an overdue delivery again.

The message may be lost, or it waits in a long or stalled queue, where copies of it only make the queue longer. So the
interval is SWEEP_DELAY plus the time that the delivery is overdue: the sweep sends the message after about 1, 3, 7, 15,
31 and 63 minutes, and then every hour.
"""
CLOCK_SKEW = SECOND
"""How early a message may arrive, because of another machine's clock."""

OLD_SECRET_LIFETIME = DAY
"""How long after a rotation the old secret signs webhooks too."""
MAX_SECRETS = 4
WEBHOOK_IDEMPOTENCY_WINDOW = 10 * MINUTE
"""How long a repeated Idempotency-Key identifies the same creation, or the same rotation, of a webhook."""
MAX_ATTEMPTS_KEPT = 20


class WebhookDisabled(Conflict):
    """This webhook is disabled. Enable it first."""


class DifferentWebhook(Conflict):
    """This Idempotency-Key was used with another request. Use a new key."""


class TooManyWebhooks(Conflict):
    """You have reached the limit of webhooks for a user. Remove one first."""


def new_delivery(endpoint: Endpoint, event: WebhookEvent, body: str, now: int) -> Delivery:
    """A new delivery of an event to an endpoint. The same event and endpoint always give the same id. Ids sort by
    time."""
    digest = fingerprint([endpoint.owner, endpoint.id, event.type, event.subject, event.at])
    return Delivery(
        owner=endpoint.owner,
        webhook_id=endpoint.id,
        id=f"msg_{event.at:013d}{digest[:20]}",
        event=event.type,
        body=body,
        sequence=event.sequence,
        created_at=now,
        since=now,
        next_at=now,
    )


def sweep_due_at(delivery: Delivery, now: int, max_message_delay: int) -> int | None:
    """When the sweep must process a delivery; None once it has ended.

    The sweep waits for SWEEP_DELAY longer where a message is sent for the delivery's due time.
    """
    if delivery.next_at is None:
        return None
    has_message = delivery.claim is None and delivery.next_at - now <= max_message_delay
    return delivery.next_at + (SWEEP_DELAY if has_message else 0)


def choose_free_slot(endpoint: Endpoint, now: int, chance: float) -> str | None:
    """A free slot of an endpoint; None where all are in use. An endpoint that is slow or fails has fewer slots."""
    slots = SLOTS_WHEN_SLOW if endpoint.slow or endpoint.failing_since is not None else SLOTS
    free = [str(slot) for slot in range(slots) if endpoint.slots.get(str(slot), 0) <= now]
    return free[int(chance * len(free))] if free else None


def defer(delivery: Delivery, endpoint: Endpoint, now: int, chance: float) -> Delivery:
    """A delivery whose endpoint is busy, or whose receiver asked for a pause: due later, without counting an
    attempt."""
    if now - delivery.since >= MAX_DELIVERY_TIME:
        return fail(delivery, "The webhook was busy for seven days.", now)
    pause = min(FIRST_DEFERRAL << min(delivery.deferrals, 20), MAX_DEFERRAL)
    at = max(now + round(pause * (0.5 + chance / 2)), endpoint.not_before or 0)
    return delivery.model_copy(update={"next_at": at, "claim": None, "deferrals": delivery.deferrals + 1})


def fail(delivery: Delivery, error: str, now: int) -> Delivery:
    """A delivery that has failed, and why."""
    return delivery.model_copy(
        update={"status": "failed", "error": error, "next_at": None, "claim": None, "ended_at": now}
    )


def after_attempt(delivery: Delivery, attempt: DeliveryAttempt, wait: int, now: int, chance: float) -> Delivery:
    """A delivery after an attempt: delivered, failed, or due again.

    The next attempt is due after the pause in the schedule, or after `wait` milliseconds, which the receiver asked for,
    if that is longer. A response with status 410 fails the delivery immediately.
    """
    after = delivery.model_copy(
        update={
            "tries": delivery.tries + 1,
            "attempts": [*delivery.attempts, attempt][-MAX_ATTEMPTS_KEPT:],
            "deferrals": 0,
            "claim": None,
        }
    )
    if attempt.error is None:
        return after.model_copy(update={"status": "delivered", "next_at": None, "ended_at": now})
    if attempt.status == GONE:
        return fail(after, attempt.error, now)
    if after.tries >= len(SCHEDULE):
        return fail(after, f"All {after.tries} attempts failed. Last error: {attempt.error}", now)
    pause = round(SCHEDULE[after.tries] * (1 + JITTER * chance))
    return after.model_copy(update={"next_at": now + max(pause, wait)})


GONE = 410
_RETRY_LATER_STATUSES = (429, 503)


def requested_wait(status: int | None, retry_after: str | None, now: int) -> int:
    """The pause that a receiver asked for, in milliseconds, at most MAX_WAIT; 0 where it asked for none.

    A receiver asks for a pause with the header Retry-After of a response with status 429 or 503: in seconds, or as a
    date (RFC 9110, section 10.2.3).
    """
    if status not in _RETRY_LATER_STATUSES or retry_after is None:
        return 0
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * SECOND, MAX_WAIT)
    try:
        at = int(parsedate_to_datetime(text).timestamp()) * 1_000
    except (ValueError, TypeError, OverflowError):
        return 0
    return max(0, min(at - now, MAX_WAIT))


def endpoint_after_attempt(endpoint: Endpoint, attempt: DeliveryAttempt, wait: int, now: int) -> Endpoint:
    """An endpoint after an attempt.

    It is disabled after a response with status 410 (Gone), and after five days of failures. That is a series of failed
    attempts without a success that spans at least five days, each at most a day after the one before it.
    """
    slow = attempt.ms >= SLOW_RESPONSE
    if attempt.error is None:
        return endpoint.model_copy(update={"failing_since": None, "failed_at": None, "slow": slow, "not_before": None})
    continues_series = endpoint.failed_at is not None and now - endpoint.failed_at <= MAX_FAILURE_GAP
    since = endpoint.failing_since if continues_series and endpoint.failing_since is not None else now
    after = endpoint.model_copy(
        update={
            "failing_since": since,
            "failed_at": now,
            "slow": slow,
            "not_before": now + wait if wait else endpoint.not_before,
        }
    )
    if attempt.status == GONE:
        return disable(after, "The receiver returned 410 (Gone).", now)
    if now - since >= DISABLE_AFTER:
        return disable(after, f"Every attempt has failed for five days, since {iso(since)}.", now)
    return after


def disable(endpoint: Endpoint, reason: str, now: int) -> Endpoint:
    """A disabled endpoint, and why."""
    return endpoint.model_copy(update={"enabled": False, "disabled_at": now, "disabled_reason": reason})


def redeliver(delivery: Delivery, now: int) -> Delivery | None:
    """A delivery that is due now because its user redelivers it; None during an attempt.

    A delivery that has ended starts over: its attempts and its time count from now.
    """
    if delivery.claim is not None and (delivery.next_at or 0) > now:
        return None
    reset: dict[str, Any] = {} if delivery.is_pending else {"tries": 0, "since": now, "ended_at": None, "error": None}
    return delivery.model_copy(update=reset | {"status": "pending", "deferrals": 0, "claim": None, "next_at": now})


def rotate_secret(endpoint: Endpoint, secret: str, key: str | None, now: int) -> Endpoint:
    """An endpoint with a new secret. The old secret signs too for a day. `key` is the hash of the Idempotency-Key."""
    old = [
        each if each.until is not None else SigningSecret(value=each.value, until=now + OLD_SECRET_LIFETIME)
        for each in endpoint.secrets
        if each.until is None or now < each.until
    ]
    return endpoint.model_copy(
        update={
            "secrets": [SigningSecret(value=secret), *old][:MAX_SECRETS],
            "rotation_key": key,
            "rotated_at": now,
            "updated_at": now,
        }
    )


def is_repeated_rotation(endpoint: Endpoint, key: str | None, now: int) -> bool:
    """Whether the same request rotated the secret within WEBHOOK_IDEMPOTENCY_WINDOW. Its response is taken to be
    lost."""
    return (
        key is not None
        and endpoint.rotation_key == key
        and now - (endpoint.rotated_at or 0) <= WEBHOOK_IDEMPOTENCY_WINDOW
    )
