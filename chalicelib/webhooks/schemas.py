"""Requests and responses of /api/webhooks."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from chalicelib.core.models import InputModel, OutputModel
from chalicelib.core.timestamps import iso, iso_or_none
from chalicelib.http.pagination import ListQuery, ListResponse
from chalicelib.webhooks.entities import ALL_EVENTS, Delivery, DeliveryStatus, Endpoint, EventType
from chalicelib.webhooks.targets import MAX_URL_LENGTH

WebhookUrl = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_URL_LENGTH), Field(json_schema_extra={"format": "uri"})
]
EventFilter = Annotated[list[EventType | Literal["*"]], Field(min_length=1, max_length=32)]
WebhookDescription = Annotated[str, StringConstraints(max_length=200)]


def _distinct_events(events: list[str] | None) -> list[str] | None:
    """The events without duplicates; only `*` where the list contains it."""
    if events is not None and ALL_EVENTS in events:
        return [ALL_EVENTS]
    return events and list(dict.fromkeys(events))


class CreateWebhookRequest(InputModel):
    """The body of POST /api/webhooks."""

    url: WebhookUrl
    """Where webhooks are sent."""
    events: EventFilter = Field(default=["*"])
    """The events to send. `["*"]` is all of them, including those that are added later."""
    description: WebhookDescription | None = None
    """A text for people."""

    _distinct = field_validator("events")(_distinct_events)


class UpdateWebhookRequest(InputModel):
    """The body of PATCH /api/webhooks/{id}. Absent fields do not change."""

    url: WebhookUrl | None = None
    """Where webhooks are sent. A new URL resets the earlier failures."""
    events: EventFilter | None = None
    """Replaces the list."""
    description: WebhookDescription | None = None
    """Replaces the text."""
    enabled: bool | None = None
    """`true` enables the webhook and resets the earlier failures; `false` disables it."""

    _distinct = field_validator("events")(_distinct_events)


class DeliveryQuery(ListQuery):
    status: DeliveryStatus | None = None
    """Only deliveries in this status."""
    event: EventType | Literal["webhook.test"] | None = None
    """Only deliveries of this event."""


class WebhookResponse(OutputModel):
    id: str
    url: str
    events: list[str]
    """The events that are sent."""
    description: str | None
    enabled: bool
    """Whether webhooks are sent."""
    disabled_at: str | None
    """When the webhook was disabled."""
    disabled_reason: str | None
    """Why the webhook was disabled."""
    failing_since: str | None
    """The first failure since the last success."""
    old_secrets_until: str | None
    """Until when older secrets sign as well, after a rotation."""
    created_at: str
    updated_at: str


class WebhookWithSecretResponse(OutputModel):
    """The response of creation and rotation. No other response contains the secret."""

    success: bool = True
    webhook: WebhookResponse
    secret: str
    """The signing secret. Only the responses of creation and rotation contain it."""


class RemoveWebhookResponse(OutputModel):
    success: bool = True
    webhook_id: str
    """The id of the removed webhook."""


class DeliveryAttemptResponse(OutputModel):
    timestamp: str
    """When the attempt was made."""
    status: int | None
    """The HTTP status; `null` if there was no response."""
    latency_ms: int
    """How long the attempt took, in milliseconds."""
    error: str | None
    """Why the attempt failed; `null` if it succeeded."""
    answer: str
    """The first KB of the response body."""


class DeliveryResponse(OutputModel):
    id: str
    """The `webhook-id` of every attempt."""
    webhook_id: str
    event: str
    status: DeliveryStatus
    error: str | None
    """Why the delivery failed."""
    sequence: int
    """The `devflow-sequence` of every attempt."""
    created_at: str
    next_attempt_at: str | None
    """When the next attempt is due; `null` after the end."""
    ended_at: str | None
    """When it was delivered or failed."""
    attempts: list[DeliveryAttemptResponse]
    """The last 20 attempts."""
    payload: dict[str, Any]
    """The body that is sent."""


class WebhookList(ListResponse):
    data: list[WebhookResponse]


class DeliveryList(ListResponse):
    data: list[DeliveryResponse]


class DeliverySentResponse(OutputModel):
    success: bool = True
    delivery_id: str
    """The id of the delivery."""


def to_response(endpoint: Endpoint, now: int) -> WebhookResponse:
    old = [secret.until for secret in endpoint.secrets if secret.until is not None and now < secret.until]
    return WebhookResponse(
        id=endpoint.id,
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_at=iso_or_none(endpoint.disabled_at),
        disabled_reason=endpoint.disabled_reason,
        failing_since=iso_or_none(endpoint.failing_since),
        old_secrets_until=iso_or_none(max(old, default=None)),
        created_at=iso(endpoint.created_at),
        updated_at=iso(endpoint.updated_at),
    )


def to_delivery_response(delivery: Delivery) -> DeliveryResponse:
    return DeliveryResponse(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event=delivery.event,
        status=delivery.status,
        error=delivery.error,
        sequence=delivery.sequence,
        created_at=iso(delivery.created_at),
        next_attempt_at=iso_or_none(delivery.next_at),
        ended_at=iso_or_none(delivery.ended_at),
        attempts=[
            DeliveryAttemptResponse(
                timestamp=iso(attempt.at),
                status=attempt.status,
                latency_ms=attempt.ms,
                error=attempt.error,
                answer=attempt.text,
            )
            for attempt in delivery.attempts
        ],
        payload=json.loads(delivery.body),
    )
