"""The rules of webhooks: when a delivery is tried again, and when an endpoint is disabled. No I/O; time is an argument
(epoch milliseconds), and so is chance (from 0 to below 1).
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
"""How long after the attempt before it each attempt is made."""
JITTER = 0.1
"""By how much of it such a pause may be longer."""

MAX_WAIT = 10 * HOUR
"""How long at most a receiver may ask to be left alone (Retry-After)."""
DISABLE_AFTER = 5 * DAY
"""So long without a success, an endpoint is disabled."""
MAX_FAILURE_GAP = DAY
"""Failures that are further apart than this are not one row of failures."""
MAX_DELIVERY_TIME = 7 * DAY
"""A delivery that could not be tried eight times in that, because its endpoint was busy, is given up all the same."""
RETENTION = 30 * DAY

SLOW_RESPONSE = 3 * SECOND
FIRST_DEFERRAL, MAX_DEFERRAL = 2 * SECOND, 5 * MINUTE

DELIVERY_LEASE = settings.webhook_timeout + 30 * SECOND
"""So long a delivery under way belongs to whoever sends it."""
SWEEP_DELAY = MINUTE
"""So long after a delivery's time the sweep looks after it, where a message was sent to do so before."""
CLOCK_SKEW = SECOND
"""A message may come a little before the time, by another machine's clock."""

OLD_SECRET_LIFETIME = DAY
"""So long after a rotation webhooks are signed with the old secret, too."""
MAX_SECRETS = 4
WEBHOOK_IDEMPOTENCY_WINDOW = 10 * MINUTE
"""So long the same Idempotency-Key makes the same endpoint, or rotates to the same secret."""
MAX_ATTEMPTS_KEPT = 20


class WebhookDisabled(Conflict):
    """This webhook is disabled; enable it first."""


class DifferentWebhook(Conflict):
    """This Idempotency-Key was used with another request; use a new one."""


class TooManyWebhooks(Conflict):
    """You have as many webhooks as a user may have; remove some."""


def new_delivery(endpoint: Endpoint, event: WebhookEvent, body: str, now: int) -> Delivery:
    """A happening on its way to an endpoint. Its id is the same whenever the same is told, and sorts by time."""
    mark = fingerprint([endpoint.owner, endpoint.id, event.type, event.subject, event.at])
    return Delivery(
        owner=endpoint.owner,
        webhook_id=endpoint.id,
        id=f"msg_{event.at:013d}{mark[:20]}",
        event=event.type,
        body=body,
        sequence=event.sequence,
        created_at=now,
        since=now,
        next_at=now,
    )


def sweep_due_at(delivery: Delivery, now: int, max_message_delay: int) -> int | None:
    """When the sweep must look after a delivery; later where a message is to do so before. None: it has ended."""
    if delivery.next_at is None:
        return None
    by_message = delivery.claim is None and delivery.next_at - now <= max_message_delay
    return delivery.next_at + (SWEEP_DELAY if by_message else 0)


def free_slot(endpoint: Endpoint, now: int, chance: float) -> str | None:
    """A lane in which a request to an endpoint may go out now; None where all are taken."""
    many = SLOTS_WHEN_SLOW if endpoint.slow or endpoint.failing_since is not None else SLOTS
    free = [str(lane) for lane in range(many) if endpoint.slots.get(str(lane), 0) <= now]
    return free[int(chance * len(free))] if free else None


def defer(delivery: Delivery, endpoint: Endpoint, now: int, chance: float) -> Delivery:
    """Its endpoint is busy, or asked to be left alone: later, and no attempt used up."""
    if now - delivery.since >= MAX_DELIVERY_TIME:
        return fail(delivery, "Its webhook was busy for seven days.", now)
    pause = min(FIRST_DEFERRAL << min(delivery.deferrals, 20), MAX_DEFERRAL)
    at = max(now + round(pause * (0.5 + chance / 2)), endpoint.not_before or 0)
    return delivery.model_copy(update={"next_at": at, "claim": None, "deferrals": delivery.deferrals + 1})


def fail(delivery: Delivery, error: str, now: int) -> Delivery:
    return delivery.model_copy(
        update={"status": "failed", "error": error, "next_at": None, "claim": None, "ended_at": now}
    )


def after_attempt(delivery: Delivery, attempt: DeliveryAttempt, wait: int, now: int, chance: float) -> Delivery:
    """A delivery after an attempt: it arrived, is given up, or is tried again after the pause that the schedule has, or
    that its receiver asked for (`wait`) if that is longer."""
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
        return fail(after, f"It was tried {after.tries} times. {attempt.error}", now)
    pause = round(SCHEDULE[after.tries] * (1 + JITTER * chance))
    return after.model_copy(update={"next_at": now + max(pause, wait)})


GONE = 410
_RETRY_LATER_STATUSES = (429, 503)


def requested_wait(status: int | None, retry_after: str | None, now: int) -> int:
    """For how long a receiver asks to be left alone, in milliseconds (RFC 9110, section 10.2.3); 0 if it does not."""
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
    """An endpoint after an attempt. It is disabled when it says that it is gone for good (410), or when it has failed
    for five days: when every attempt failed, from one to another five days later, none more than a day after the one
    before."""
    slow = attempt.ms >= SLOW_RESPONSE
    if attempt.error is None:
        return endpoint.model_copy(update={"failing_since": None, "failed_at": None, "slow": slow, "not_before": None})
    in_a_row = endpoint.failed_at is not None and now - endpoint.failed_at <= MAX_FAILURE_GAP
    since = endpoint.failing_since if in_a_row and endpoint.failing_since is not None else now
    after = endpoint.model_copy(
        update={
            "failing_since": since,
            "failed_at": now,
            "slow": slow,
            "not_before": now + wait if wait else endpoint.not_before,
        }
    )
    if attempt.status == GONE:
        return disable(after, "It answered 410: it is gone for good.", now)
    if now - since >= DISABLE_AFTER:
        return disable(after, f"It has failed for five days, since {iso(since)}.", now)
    return after


def disable(endpoint: Endpoint, because: str, now: int) -> Endpoint:
    return endpoint.model_copy(update={"enabled": False, "disabled_at": now, "disabled_reason": because})


def redeliver(delivery: Delivery, now: int) -> Delivery | None:
    """A delivery that its user wants to be sent (again) now, under the same id. None where it is under way already."""
    if delivery.claim is not None and (delivery.next_at or 0) > now:
        return None
    afresh: dict[str, Any] = {} if delivery.is_pending else {"tries": 0, "since": now, "ended_at": None, "error": None}
    return delivery.model_copy(update=afresh | {"status": "pending", "deferrals": 0, "claim": None, "next_at": now})


def rotate_secret(endpoint: Endpoint, secret: str, key: str | None, now: int) -> Endpoint:
    """An endpoint with a new secret; what it was signed with goes on signing for a day."""
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
    """Whether an endpoint was just rotated by this very request, whose answer was lost."""
    return (
        key is not None
        and endpoint.rotation_key == key
        and now - (endpoint.rotated_at or 0) <= WEBHOOK_IDEMPOTENCY_WINDOW
    )
