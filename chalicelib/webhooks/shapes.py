"""What users send about webhooks, and what they get to see."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.pages import Listing, ListQuery
from chalicelib.times import iso, iso_or_none
from chalicelib.types import Reply, Request
from chalicelib.webhooks.targets import LONGEST
from chalicelib.webhooks.webhook import EVERY, Delivery, DeliveryStatus, Endpoint, EventType

Url = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST), Field(json_schema_extra={"format": "uri"})]
Wanted = Annotated[list[EventType | Literal["*"]], Field(min_length=1, max_length=32)]
Description = Annotated[str, StringConstraints(max_length=200)]


def _once(events: list[str] | None) -> list[str] | None:
    if events is not None and EVERY in events:
        return [EVERY]
    return events and list(dict.fromkeys(events))


class NewWebhook(Request):
    """The body of POST /api/webhooks. `events`: which to be told; all of them, also those there will be, if none is
    named."""

    url: Url
    events: Wanted = Field(default=["*"])
    description: Description | None = None

    _distinct = field_validator("events")(_once)


class WebhookChange(Request):
    """The body of PATCH /api/webhooks/{id}; what is absent stays."""

    url: Url | None = None
    events: Wanted | None = None
    description: Description | None = None
    enabled: bool | None = None

    _distinct = field_validator("events")(_once)


class DeliveryQuery(ListQuery):
    status: DeliveryStatus | None = None
    event: EventType | Literal["webhook.test"] | None = None


class WebhookReply(Reply):
    id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    disabled_at: str | None
    disabled_reason: str | None
    failing_since: str | None
    """Its first failure since its last success."""
    old_secrets_until: str | None
    """After a rotation: how long the old secret signs, too."""
    created_at: str
    updated_at: str


class WebhookCreated(Reply):
    """The only answer, with that of a rotation, that shows the secret."""

    success: bool = True
    webhook: WebhookReply
    secret: str


class WebhookRemoved(Reply):
    success: bool = True
    webhook_id: str


class AttemptReply(Reply):
    timestamp: str
    status: int | None
    """The HTTP status; null where no answer came."""
    latency_ms: int
    error: str | None
    answer: str
    """The first KB of the answer's body."""


class DeliveryReply(Reply):
    id: str
    """The `webhook-id` of every attempt."""
    webhook_id: str
    event: str
    status: DeliveryStatus
    error: str | None
    sequence: int
    created_at: str
    next_attempt_at: str | None
    ended_at: str | None
    attempts: list[AttemptReply]
    payload: dict[str, Any]


class WebhookListing(Listing):
    data: list[WebhookReply]


class DeliveryListing(Listing):
    data: list[DeliveryReply]


class Sent(Reply):
    success: bool = True
    delivery_id: str


def shown(endpoint: Endpoint, now: int) -> WebhookReply:
    old = [secret.until for secret in endpoint.secrets if secret.until is not None and now < secret.until]
    return WebhookReply(
        id=endpoint.id,
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_at=iso_or_none(endpoint.disabled_at),
        disabled_reason=endpoint.disabled_because,
        failing_since=iso_or_none(endpoint.failing_since),
        old_secrets_until=iso_or_none(max(old, default=None)),
        created_at=iso(endpoint.created_at),
        updated_at=iso(endpoint.updated_at),
    )


def delivery(found: Delivery) -> DeliveryReply:
    return DeliveryReply(
        id=found.id,
        webhook_id=found.webhook,
        event=found.event,
        status=found.status,
        error=found.error,
        sequence=found.sequence,
        created_at=iso(found.created_at),
        next_attempt_at=iso_or_none(found.next_at),
        ended_at=iso_or_none(found.ended_at),
        attempts=[
            AttemptReply(
                timestamp=iso(attempt.at),
                status=attempt.status,
                latency_ms=attempt.ms,
                error=attempt.error,
                answer=attempt.text,
            )
            for attempt in found.attempts
        ],
        payload=json.loads(found.body),
    )
