"""/api/webhooks: a user's endpoints, and what was delivered to them."""

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.errors import DeliveryNotFound, WebhookNotFound
from chalicelib.http import Answer, Call, route
from chalicelib.pages import ListQuery
from chalicelib.ratelimit import WEBHOOKS_API
from chalicelib.webhooks import service
from chalicelib.webhooks.model import Disabled, OtherWebhook, TooManyWebhooks
from chalicelib.webhooks.shapes import (
    DeliveryListing,
    DeliveryQuery,
    NewWebhook,
    Sent,
    WebhookChange,
    WebhookCreated,
    WebhookListing,
    WebhookRemoved,
    WebhookReply,
)
from chalicelib.webhooks.targets import BadTarget

blueprint = Blueprint(__name__)


@route(
    blueprint, "POST", "/api/webhooks", "user", WEBHOOKS_API,
    body=NewWebhook, idempotency_key=True, answer=WebhookCreated, status=201,
    raises=(BadTarget, TooManyWebhooks, OtherWebhook),
)  # fmt: skip
def create_webhook(call: Call) -> Answer:
    """Make a webhook; its secret is shown here and never again."""
    user = guard.user(call)
    return Answer(service.create(user.owner, call.body(NewWebhook), call.idempotency_key, call.now))


@route(blueprint, "GET", "/api/webhooks", "user", WEBHOOKS_API, query=ListQuery, answer=WebhookListing)
def list_webhooks(call: Call) -> Answer:
    """List your webhooks, by id."""
    user = guard.user(call)
    return Answer(service.list_webhooks(user.owner, call.params(ListQuery), call.now))


@route(
    blueprint, "GET", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    answer=WebhookReply, raises=(WebhookNotFound,),
)  # fmt: skip
def get_webhook(call: Call, webhook_id: str) -> Answer:
    """Read a webhook."""
    user = guard.user(call)
    return Answer(service.show(user.owner, webhook_id, call.now))


@route(
    blueprint, "PATCH", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    body=WebhookChange, answer=WebhookReply, raises=(BadTarget, WebhookNotFound),
)  # fmt: skip
def change_webhook(call: Call, webhook_id: str) -> Answer:
    """Change a webhook, disable it, or enable it again."""
    user = guard.user(call)
    return Answer(service.change(user.owner, webhook_id, call.body(WebhookChange), call.now))


@route(
    blueprint, "DELETE", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    answer=WebhookRemoved, raises=(WebhookNotFound,),
)  # fmt: skip
def remove_webhook(call: Call, webhook_id: str) -> Answer:
    """Remove a webhook."""
    user = guard.user(call)
    service.remove(user.owner, webhook_id)
    return Answer(WebhookRemoved(webhook_id=webhook_id))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/rotate-secret", "user", WEBHOOKS_API,
    idempotency_key=True, answer=WebhookCreated, raises=(WebhookNotFound,),
)  # fmt: skip
def rotate_secret(call: Call, webhook_id: str) -> Answer:
    """Replace a webhook's secret; for a day the old one signs, too."""
    user = guard.user(call)
    return Answer(service.rotate(user.owner, webhook_id, call.idempotency_key, call.now))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/test", "user", WEBHOOKS_API,
    answer=Sent, status=202, raises=(WebhookNotFound, Disabled),
)  # fmt: skip
def test_webhook(call: Call, webhook_id: str) -> Answer:
    """Send a webhook that tells of nothing."""
    user = guard.user(call)
    return Answer(service.test(user.owner, webhook_id, call.now))


@route(
    blueprint, "GET", "/api/webhooks/{webhook_id}/deliveries", "user", WEBHOOKS_API,
    query=DeliveryQuery, answer=DeliveryListing, raises=(WebhookNotFound,),
)  # fmt: skip
def list_deliveries(call: Call, webhook_id: str) -> Answer:
    """List what was sent to a webhook or is to be, newest first, with every attempt."""
    user = guard.user(call)
    return Answer(service.list_deliveries(user.owner, webhook_id, call.params(DeliveryQuery), call.now))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", "user", WEBHOOKS_API,
    answer=Sent, status=202, raises=(WebhookNotFound, DeliveryNotFound, Disabled),
)  # fmt: skip
def redeliver(call: Call, webhook_id: str, delivery_id: str) -> Answer:
    """Send a delivery again, at once and under the same id."""
    user = guard.user(call)
    return Answer(service.redeliver(user.owner, webhook_id, delivery_id, call.now))
