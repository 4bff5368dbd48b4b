"""Webhooks as they are: endpoints, deliveries with their attempts, and what is told. No I/O."""

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
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
ALL_EVENTS = "*"
TEST_EVENT = "webhook.test"
"""The event of a test, which goes to an endpoint whatever its filter."""


class SigningSecret(Entity):
    """What an endpoint's webhooks are signed with; an old one, `until` when."""

    value: str
    until: int | None = None


class Endpoint(Entity):
    """Where a user wants to be told what. Its secrets, newest first."""

    owner: str
    id: str
    url: str
    events: list[str]
    description: str | None = None
    secrets: list[SigningSecret]
    rotation_key: str | None = None
    """The Idempotency-Key of the last rotation, hashed."""
    rotated_at: int | None = None
    enabled: bool = True
    disabled_at: int | None = None
    disabled_reason: str | None = None
    failing_since: int | None = None
    """The first failure since the last success."""
    failed_at: int | None = None
    """The last one."""
    slow: bool = False
    not_before: int | None = None
    """Its receiver asked to be left alone until then."""
    slots: dict[str, int] = Field(default_factory=dict)
    """The requests under way, by number, and until when each at most."""
    request_digest: str = ""
    """What it was made of, hashed, to know the same request again."""
    revision: int = 0
    """Goes up whenever its user changes it."""
    created_at: int
    updated_at: int

    def wants(self, event: str) -> bool:
        return self.enabled and (ALL_EVENTS in self.events or event in self.events)

    def active_secrets(self, now: int) -> list[str]:
        return [secret.value for secret in self.secrets if secret.until is None or now < secret.until]


class DeliveryAttempt(Entity):
    """One request, and what came of it."""

    at: int
    ms: int
    status: int | None = None
    error: str | None = None
    text: str = ""


DeliveryStatus = Literal["pending", "delivered", "failed"]


class Delivery(Entity):
    """One event on its way to one endpoint."""

    owner: str
    webhook_id: str
    id: str
    event: str
    body: str
    """What is sent, to the byte, in every attempt."""
    sequence: int
    status: DeliveryStatus = "pending"
    tries: int = 0
    """Attempts since it was created, or last sent again by hand."""
    deferrals: int = 0
    """How often in a row its endpoint was busy."""
    attempts: list[DeliveryAttempt] = Field(default_factory=list)
    created_at: int
    since: int
    """When it was created, or last sent again by hand."""
    next_at: int | None = None
    """When it is to be tried (again); under way, when that is over at the latest. None once it has ended."""
    claim: str | None = None
    """Whose it is while it is under way."""
    ended_at: int | None = None
    error: str | None = None
    """Why it failed."""

    @property
    def is_pending(self) -> bool:
        return self.status == "pending"


class WebhookEvent(NamedTuple):
    """What is to be told. `about` and `type` and `at` make it one of its kind; `data` is what is told of it.

    `sequence` grows with time: of two webhooks about the same thing, the one with the greater is the later.
    """

    type: str
    subject: str
    at: int
    sequence: int
    data: Mapping[str, Any]
