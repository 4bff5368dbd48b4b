"""What users do with their webhooks: make, look at, change, remove, rotate, test; and what became of deliveries."""

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
from chalicelib.http.pagination import ListQuery, list_page
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
    """A new endpoint with its secret. The same Idempotency-Key within ten minutes is the same request, whose answer was
    lost: it gets the same answer.

    Raises BadTarget, TooManyWebhooks, and OtherWebhook where the key came with another request.
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
            before = tables.to_endpoint(existing)
            if now - before.created_at > rules.WEBHOOK_IDEMPOTENCY_WINDOW:
                seed.append(before.id)  # the key was used, but so long ago that it is free again
                continue
            if before.request_digest != endpoint.request_digest:
                raise rules.DifferentWebhook from None
            endpoint = before
        return WebhookWithSecretResponse(webhook=schemas.to_response(endpoint, now), secret=endpoint.secrets[0].value)


def _new_secret() -> str:
    """As Standard Webhooks has it: 24 to 64 random bytes, in base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _check_target(url: str) -> None:
    """Raises BadTarget where a webhook could never go there. Where a name cannot be resolved just now, each sending
    will tell; it checks again anyway."""
    target = targets.parse_target(url, local=settings.local)
    try:
        targets.check_addresses(http_client.resolve(target.host, target.port, _LOOKUP_TIMEOUT), local=settings.local)
    except http_client.HostNotFound:
        raise BadTarget(f"The name {target.host} leads nowhere.") from None
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
    """What is given changes. Another address, and being enabled, begin anew: what was held against it is forgotten.

    Raises BadTarget, WebhookNotFound.
    """
    given: dict[str, Any] = request.model_dump(exclude_unset=True, exclude_none=True)
    if request.url is not None:
        _check_target(request.url)
    if request.url is not None or request.enabled:
        given |= dict.fromkeys(("failing_since", "failed_at", "not_before")) | {"slow": False}
    if request.enabled is not None:
        by_hand = None if request.enabled else "You disabled it."
        given |= {"disabled_at": None if request.enabled else now, "disabled_reason": by_hand}
    try:
        return schemas.to_response(store.update_endpoint(owner, webhook_id, given | {"updated_at": now}), now)
    except dynamodb.ConditionFailed:
        raise WebhookNotFound from None


def remove_webhook(owner: str, webhook_id: str) -> None:
    """It goes at once; what was on its way to it goes when its time comes. Raises WebhookNotFound."""
    load_endpoint(owner, webhook_id)
    with suppress(
        dynamodb.TransactionCancelled
    ):  # it went just now, perhaps by this very request, whose answer was lost
        dynamodb.transact_write(*store.delete_items(owner, webhook_id))


def rotate_secret(owner: str, webhook_id: str, idempotency_key: str | None, now: int) -> WebhookWithSecretResponse:
    """A new secret; for a day webhooks are signed with the old one, too. The same Idempotency-Key within ten minutes
    gets the same answer. Raises WebhookNotFound."""
    key, secret = idempotency_key and fingerprint(idempotency_key), _new_secret()
    for _ in range(_MAX_TRIES):
        before = load_endpoint(owner, webhook_id)
        if rules.is_repeated_rotation(before, key, now) or before.secrets[0].value == secret:
            return WebhookWithSecretResponse(webhook=schemas.to_response(before, now), secret=before.secrets[0].value)
        after = rules.rotate_secret(before, secret, key, now)
        try:
            store.save_rotation(before, after)
        except dynamodb.ConditionFailed:
            continue  # changed meanwhile; or by this very request, whose answer was lost
        return WebhookWithSecretResponse(webhook=schemas.to_response(after, now), secret=secret)
    raise Unavailable


def send_test(owner: str, webhook_id: str, now: int) -> DeliverySentResponse:
    """Send a webhook that tells of nothing. Raises WebhookNotFound, Disabled."""
    endpoint = load_endpoint(owner, webhook_id)
    if not endpoint.enabled:
        raise rules.WebhookDisabled
    happening = WebhookEvent(
        TEST_EVENT, secrets.token_hex(8), now, now * 10, {"webhookId": webhook_id, "userId": owner}
    )
    new = fanout.create_deliveries([endpoint], happening, now)
    dynamodb.transact_write(*fanout.delivery_items(new))
    fanout.send_deliveries(new)
    return DeliverySentResponse(delivery_id=new[0].id)


def list_deliveries(owner: str, webhook_id: str, query: DeliveryQuery, now: int) -> DeliveryList:
    """A page of what is on its way to an endpoint, or was in the last 30 days, newest first. Raises WebhookNotFound."""
    load_endpoint(owner, webhook_id)
    return list_page(
        DeliveryList,
        query,
        f"deliveries|{owner}|{webhook_id}",
        auth.cursors(now),
        lambda limit, start: store.find_deliveries(owner, webhook_id, query, limit, start),
        store.cursor_key,
        lambda found: [schemas.to_delivery_response(delivery) for delivery in store.load_deliveries(found, now)],
    )


def redeliver(owner: str, webhook_id: str, delivery_id: str, now: int) -> DeliverySentResponse:
    """Send a delivery (again) at once, under the same id. One that is under way already stays as it is.

    Raises WebhookNotFound, DeliveryNotFound, Disabled.
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
