"""Endpoints, deliveries with their attempts, and webhook events. No I/O. Times are epoch milliseconds."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from chalicelib.core.models import Entity

EventType = Literal[
    "task.created",
    "task.started",
    "task.completed",
    "task.failed",
    "task.cancelled",
    "agent.active",
    "agent.inactive",
    "agent.token_renewed",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
ALL_EVENTS = "*"
TEST_EVENT = "webhook.test"
"""The event of a test. It is sent to an endpoint regardless of its filter."""


class SigningSecret(Entity):
    """A secret that signs an endpoint's webhooks. After a rotation, an old secret signs until `until`."""

    value: str
    until: int | None = None


class Endpoint(Entity):
    """A user's endpoint: where webhooks are sent, for which events, and how the last attempts ended."""

    owner: str
    id: str
    url: str
    events: list[str]
    description: str | None = None
    secrets: list[SigningSecret]
    """Newest first."""
    rotation_key: str | None = None
    """The hash of the Idempotency-Key of the last rotation."""
    rotated_at: int | None = None
    enabled: bool = True
    disabled_at: int | None = None
    disabled_reason: str | None = None
    failing_since: int | None = None
    """The first failure since the last success."""
    failed_at: int | None = None
    """The last failure since the last success."""
    slow: bool = False
    not_before: int | None = None
    """The receiver asked for no requests until then (Retry-After)."""
    slots: dict[str, int] = Field(default_factory=dict)
    """The slots in use: for each slot, when its request ends at the latest."""
    request_digest: str = ""
    """The hash of the request that created the endpoint. It identifies a repeated request."""
    revision: int = 0
    """Incremented whenever the user changes the endpoint."""
    created_at: int
    updated_at: int

    def wants(self, event: str) -> bool:
        """Whether the endpoint is enabled and subscribes to this event."""
        return self.enabled and (ALL_EVENTS in self.events or event in self.events)

    def active_secrets(self, now: int) -> list[str]:
        """The secrets that sign webhooks now, newest first."""
        return [secret.value for secret in self.secrets if secret.until is None or now < secret.until]


class DeliveryAttempt(Entity):
    """One request of a delivery, and its result."""

    at: int
    """When the request was sent."""
    ms: int
    """How long it took, in milliseconds."""
    status: int | None = None
    error: str | None = None
    text: str = ""


DeliveryStatus = Literal["pending", "delivered", "failed"]


class Delivery(Entity):
    """The delivery of one event to one endpoint."""

    owner: str
    webhook_id: str
    id: str
    event: str
    body: str
    """The body of every attempt, byte for byte."""
    sequence: int
    status: DeliveryStatus = "pending"
    tries: int = 0
    """The number of attempts since it was created, or since its user last redelivered it."""
    deferrals: int = 0
    """How many times in a row it was deferred because its endpoint was busy."""
    attempts: list[DeliveryAttempt] = Field(default_factory=list)
    created_at: int
    since: int
    """When it was created, or when its user last redelivered it."""
    next_at: int | None = None
    """When the next attempt is due. During an attempt, when the lease expires. None once the delivery has ended."""
    claim: str | None = None
    """The token of the process that claimed it, during an attempt."""
    ended_at: int | None = None
    error: str | None = None
    """Why the delivery failed."""

    @property
    def is_pending(self) -> bool:
        return self.status == "pending"


class WebhookEvent(NamedTuple):
    """An event to send. `type`, `subject` and `at` identify it; `data` is the payload.

    `sequence` grows with time: of two webhooks with the same subject, the one with the greater number is the later one.
    """

    type: str
    subject: str
    at: int
    sequence: int
    data: Mapping[str, Any]
