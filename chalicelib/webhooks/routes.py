"""/api/webhooks: a user's endpoints and their deliveries."""

from chalice.app import Blueprint

from chalicelib.auth import guard
from chalicelib.core.errors import DeliveryNotFound, WebhookNotFound
from chalicelib.http import Request, Response, route
from chalicelib.http.pagination import ListQuery
from chalicelib.http.rate_limits import WEBHOOKS_API
from chalicelib.webhooks import service
from chalicelib.webhooks.rules import DifferentWebhook, TooManyWebhooks, WebhookDisabled
from chalicelib.webhooks.schemas import (
    CreateWebhookRequest,
    DeliveryList,
    DeliveryQuery,
    DeliverySentResponse,
    RemoveWebhookResponse,
    UpdateWebhookRequest,
    WebhookList,
    WebhookResponse,
    WebhookWithSecretResponse,
)
from chalicelib.webhooks.targets import BadTarget

blueprint = Blueprint(__name__)


@route(
    blueprint, "POST", "/api/webhooks", "user", WEBHOOKS_API,
    body=CreateWebhookRequest, idempotency_key=True, response=WebhookWithSecretResponse, status=201,
    raises=(BadTarget, TooManyWebhooks, DifferentWebhook),
)  # fmt: skip
def create_webhook(request: Request) -> Response:
    """Create a webhook. Only this response and that of a rotation contain its secret."""
    user = guard.admitted_user(request)
    return Response(
        service.create_webhook(user.owner, request.body(CreateWebhookRequest), request.idempotency_key, request.now)
    )


@route(blueprint, "GET", "/api/webhooks", "user", WEBHOOKS_API, query=ListQuery, response=WebhookList)
def list_webhooks(request: Request) -> Response:
    """List webhooks, by id."""
    user = guard.admitted_user(request)
    return Response(service.list_webhooks(user.owner, request.query_params(ListQuery), request.now))


@route(
    blueprint, "GET", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    response=WebhookResponse, raises=(WebhookNotFound,),
)  # fmt: skip
def get_webhook(request: Request, webhook_id: str) -> Response:
    """Read a webhook."""
    user = guard.admitted_user(request)
    return Response(service.get_webhook(user.owner, webhook_id, request.now))


@route(
    blueprint, "PATCH", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    body=UpdateWebhookRequest, response=WebhookResponse, raises=(BadTarget, WebhookNotFound),
)  # fmt: skip
def change_webhook(request: Request, webhook_id: str) -> Response:
    """Change, disable or enable a webhook."""
    user = guard.admitted_user(request)
    return Response(service.update_webhook(user.owner, webhook_id, request.body(UpdateWebhookRequest), request.now))


@route(
    blueprint, "DELETE", "/api/webhooks/{webhook_id}", "user", WEBHOOKS_API,
    response=RemoveWebhookResponse, raises=(WebhookNotFound,),
)  # fmt: skip
def remove_webhook(request: Request, webhook_id: str) -> Response:
    """Remove a webhook."""
    user = guard.admitted_user(request)
    service.remove_webhook(user.owner, webhook_id)
    return Response(RemoveWebhookResponse(webhook_id=webhook_id))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/rotate-secret", "user", WEBHOOKS_API,
    idempotency_key=True, response=WebhookWithSecretResponse, raises=(WebhookNotFound,),
)  # fmt: skip
def rotate_secret(request: Request, webhook_id: str) -> Response:
    """Replace a webhook's secret. The old one signs as well for one day."""
    user = guard.admitted_user(request)
    return Response(service.rotate_secret(user.owner, webhook_id, request.idempotency_key, request.now))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/test", "user", WEBHOOKS_API,
    response=DeliverySentResponse, status=202, raises=(WebhookNotFound, WebhookDisabled),
)  # fmt: skip
def test_webhook(request: Request, webhook_id: str) -> Response:
    """Send a test webhook."""
    user = guard.admitted_user(request)
    return Response(service.send_test(user.owner, webhook_id, request.now))


@route(
    blueprint, "GET", "/api/webhooks/{webhook_id}/deliveries", "user", WEBHOOKS_API,
    query=DeliveryQuery, response=DeliveryList, raises=(WebhookNotFound,),
)  # fmt: skip
def list_deliveries(request: Request, webhook_id: str) -> Response:
    """List the deliveries of a webhook with every attempt, newest first."""
    user = guard.admitted_user(request)
    return Response(service.list_deliveries(user.owner, webhook_id, request.query_params(DeliveryQuery), request.now))


@route(
    blueprint, "POST", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", "user", WEBHOOKS_API,
    response=DeliverySentResponse, status=202, raises=(WebhookNotFound, DeliveryNotFound, WebhookDisabled),
)  # fmt: skip
def redeliver(request: Request, webhook_id: str, delivery_id: str) -> Response:
    """Send a delivery again at once, under the same id."""
    user = guard.admitted_user(request)
    return Response(service.redeliver(user.owner, webhook_id, delivery_id, request.now))
