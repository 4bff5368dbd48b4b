"""A user's webhooks: creating, reading, changing, removing, rotating and testing them, and their deliveries."""

import base64
import secrets
import uuid
from contextlib import suppress
from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import service as auth
from chalicelib.core.errors import DeliveryNotFound, Unavailable, WebhookNotFound
from chalicelib.core.settings import settings
from chalicelib.core.text import fingerprint
from chalicelib.http.pagination import ListQuery, fits_response, list_page
from chalicelib.webhooks import fanout, http_client, rules, schemas, store, tables, targets
from chalicelib.webhooks.entities import TEST_EVENT, Delivery, Endpoint, SigningSecret, WebhookEvent
from chalicelib.webhooks.schemas import (
    CreateWebhookRequest,
    DeliveryList,
    DeliveryQuery,
    DeliverySentResponse,
    UpdateWebhookRequest,
    WebhookList,
    WebhookResponse,
    WebhookWithSecretResponse,
)
from chalicelib.webhooks.targets import BadTarget

_MAX_TRIES = 4
_LOOKUP_TIMEOUT = 2.0


def create_webhook(
    owner: str, request: CreateWebhookRequest, idempotency_key: str | None, now: int
) -> WebhookWithSecretResponse:
    """Create an endpoint, and return it with its secret.

    A repeated request with the same Idempotency-Key within ten minutes gets the same response. Raises BadTarget,
    TooManyWebhooks, and DifferentWebhook where the key was used with another request.
    """
    _check_target(request.url)
    seed = [owner, uuid.uuid4().hex if idempotency_key is None else idempotency_key]
    while True:
        endpoint = Endpoint(
            owner=owner,
            id=f"webhook-{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(seed))}",
            url=request.url,
            events=list(request.events),
            description=request.description,
            secrets=[SigningSecret(value=_new_secret())],
            request_digest=fingerprint(request.model_dump()),
            created_at=now,
            updated_at=now,
        )
        try:
            dynamodb.transact_write(*store.create_items(endpoint, settings.webhooks_per_user))
        except dynamodb.TransactionCancelled as cancelled:
            existing = cancelled.rows.get(0)
            if existing is None:
                raise rules.TooManyWebhooks from None
            stored = tables.to_endpoint(existing)
            if now - stored.created_at > rules.WEBHOOK_IDEMPOTENCY_WINDOW:
                seed.append(stored.id)  # the key was used longer ago than the window, so it may be used again
                continue
            if stored.request_digest != endpoint.request_digest:
                raise rules.DifferentWebhook from None
            endpoint = stored
        return WebhookWithSecretResponse(webhook=schemas.to_response(endpoint, now), secret=endpoint.secrets[0].value)


def _new_secret() -> str:
    """A random secret in the format of Standard Webhooks: 24 to 64 bytes in base64, after `whsec_`."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _check_target(url: str) -> None:
    """Raises BadTarget where webhooks could never be sent to a URL.

    A host name that cannot be resolved now is accepted, because every request resolves and checks it again.
    """
    target = targets.parse_target(url, local=settings.local)
    try:
        targets.check_addresses(http_client.resolve(target.host, target.port, _LOOKUP_TIMEOUT), local=settings.local)
    except http_client.HostNotFound:
        raise BadTarget(f"The host {target.host} does not exist.") from None
    except http_client.LookupFailed:
        return


def list_webhooks(owner: str, query: ListQuery, now: int) -> WebhookList:
    """A page of a user's endpoints, by id."""
    return list_page(
        WebhookList,
        query,
        f"webhooks|{owner}",
        auth.cursors(now),
        lambda limit, start: store.find_endpoints(owner, limit, start),
        store.cursor_key,
        lambda found: [schemas.to_response(tables.to_endpoint(row), now) for row in found],
    )


def load_endpoint(owner: str, webhook_id: str) -> Endpoint:
    """An endpoint. Raises WebhookNotFound."""
    found = store.load_endpoint(owner, webhook_id)
    if found is None:
        raise WebhookNotFound
    return found


def get_webhook(owner: str, webhook_id: str, now: int) -> WebhookResponse:
    """Raises WebhookNotFound."""
    return schemas.to_response(load_endpoint(owner, webhook_id), now)


def update_webhook(owner: str, webhook_id: str, request: UpdateWebhookRequest, now: int) -> WebhookResponse:
    """Change the fields that the request contains. A new URL, and enabling the webhook, also reset its failures.

    Raises BadTarget and WebhookNotFound.
    """
    changes: dict[str, Any] = request.model_dump(exclude_unset=True, exclude_none=True)
    if request.url is not None:
        _check_target(request.url)
    if request.url is not None or request.enabled:
        changes |= dict.fromkeys(("failing_since", "failed_at", "not_before")) | {"slow": False}
    if request.enabled is not None:
        reason = None if request.enabled else "You disabled the webhook."
        changes |= {"disabled_at": None if request.enabled else now, "disabled_reason": reason}
    try:
        return schemas.to_response(store.update_endpoint(owner, webhook_id, changes | {"updated_at": now}), now)
    except dynamodb.ConditionFailed:
        raise WebhookNotFound from None


def remove_webhook(owner: str, webhook_id: str) -> None:
    """Delete an endpoint. Its pending deliveries are deleted when their next attempts are due. Raises
    WebhookNotFound."""
    load_endpoint(owner, webhook_id)
    # The endpoint may have been deleted meanwhile, perhaps by an earlier try of this request whose response was lost.
    with suppress(dynamodb.TransactionCancelled):
        dynamodb.transact_write(*store.delete_items(owner, webhook_id))


def rotate_secret(owner: str, webhook_id: str, idempotency_key: str | None, now: int) -> WebhookWithSecretResponse:
    """Replace the secret, and return the new one. For a day, the old secret signs webhooks too.

    A repeated request with the same Idempotency-Key within ten minutes gets the same response. Raises WebhookNotFound.
    """
    key, secret = idempotency_key and fingerprint(idempotency_key), _new_secret()
    for _ in range(_MAX_TRIES):
        before = load_endpoint(owner, webhook_id)
        if rules.is_repeated_rotation(before, key, now) or before.secrets[0].value == secret:
            return WebhookWithSecretResponse(webhook=schemas.to_response(before, now), secret=before.secrets[0].value)
        after = rules.rotate_secret(before, secret, key, now)
        try:
            store.save_rotation(before, after)
        except dynamodb.ConditionFailed:
            continue  # the endpoint changed meanwhile, or an earlier try wrote the rotation and its response was lost
        return WebhookWithSecretResponse(webhook=schemas.to_response(after, now), secret=secret)
    raise Unavailable


def send_test(owner: str, webhook_id: str, now: int) -> DeliverySentResponse:
    """Send a webhook with the event webhook.test. Raises WebhookNotFound and WebhookDisabled."""
    endpoint = load_endpoint(owner, webhook_id)
    if not endpoint.enabled:
        raise rules.WebhookDisabled
    event = WebhookEvent(TEST_EVENT, secrets.token_hex(8), now, now * 10, {"webhookId": webhook_id, "userId": owner})
    deliveries = fanout.create_deliveries([endpoint], event, now)
    dynamodb.transact_write(*fanout.delivery_items(deliveries))
    fanout.send_deliveries(deliveries)
    return DeliverySentResponse(delivery_id=deliveries[0].id)


def list_deliveries(owner: str, webhook_id: str, query: DeliveryQuery, now: int) -> DeliveryList:
    """A page of an endpoint's deliveries of the last 30 days, newest first. Raises WebhookNotFound."""
    load_endpoint(owner, webhook_id)
    return list_page(
        DeliveryList,
        query,
        f"deliveries|{owner}|{webhook_id}",
        auth.cursors(now),
        lambda limit, start: store.find_deliveries(owner, webhook_id, query, limit, start),
        store.cursor_key,
        lambda found: [schemas.to_delivery_response(delivery) for delivery in store.load_deliveries(found, now)],
        fits_response,  # 20 attempts with a kilobyte of what the receiver has sent, a hundred times
    )


def redeliver(owner: str, webhook_id: str, delivery_id: str, now: int) -> DeliverySentResponse:
    """Make a delivery due now, under the same id. A delivery with an attempt in progress does not change.

    Raises WebhookNotFound, DeliveryNotFound and WebhookDisabled.
    """
    if not load_endpoint(owner, webhook_id).enabled:
        raise rules.WebhookDisabled
    for _ in range(_MAX_TRIES):
        before: Delivery | None = store.load_delivery(owner, webhook_id, delivery_id, now)
        if before is None:
            raise DeliveryNotFound
        after = rules.redeliver(before, now)
        if after is None:
            break
        if store.save_delivery(before, after, now):
            fanout.send_deliveries([after])
            break
    else:
        raise Unavailable
    return DeliverySentResponse(delivery_id=delivery_id)
