"""What users do with their webhooks: make, look at, change, remove, rotate, test; and what became of deliveries."""

import base64
import secrets
import uuid
from contextlib import suppress
from typing import Any

from chalicelib import db
from chalicelib.auth import service as auth
from chalicelib.errors import DeliveryNotFound, Unavailable, WebhookNotFound
from chalicelib.pages import ListQuery, listed
from chalicelib.settings import settings
from chalicelib.texts import digest
from chalicelib.webhooks import fanout, model, rows, sending, shapes, store, targets
from chalicelib.webhooks.shapes import (
    DeliveryListing,
    DeliveryQuery,
    NewWebhook,
    Sent,
    WebhookChange,
    WebhookCreated,
    WebhookListing,
    WebhookReply,
)
from chalicelib.webhooks.targets import BadTarget
from chalicelib.webhooks.webhook import TEST, Delivery, Endpoint, Happening, Secret

_TRIES = 4
_LOOKUP_SECONDS = 2.0


def create(owner: str, request: NewWebhook, idempotency_key: str | None, now: int) -> WebhookCreated:
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
            secrets=[Secret(value=_new_secret())],
            request=digest(request.model_dump()),
            created_at=now,
            updated_at=now,
        )
        try:
            db.write(*store.create(endpoint, settings.webhooks_per_user))
        except db.Cancelled as cancelled:
            standing = cancelled.rows.get(0)
            if standing is None:
                raise model.TooManyWebhooks from None
            before = rows.to_endpoint(standing)
            if now - before.created_at > model.REPEATABLE_FOR:
                seed.append(before.id)  # the key was used, but so long ago that it is free again
                continue
            if before.request != endpoint.request:
                raise model.OtherWebhook from None
            endpoint = before
        return WebhookCreated(webhook=shapes.shown(endpoint, now), secret=endpoint.secrets[0].value)


def _new_secret() -> str:
    """As Standard Webhooks has it: 24 to 64 random bytes, in base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _check_target(url: str) -> None:
    """Raises BadTarget where a webhook could never go there. Where a name cannot be resolved just now, each sending
    will tell; it checks again anyway."""
    target = targets.read(url, local=settings.local)
    try:
        targets.check(sending.resolve(target.host, target.port, _LOOKUP_SECONDS), local=settings.local)
    except sending.NoSuchName:
        raise BadTarget(f"The name {target.host} leads nowhere.") from None
    except sending.LookupFailed:
        return


def list_webhooks(owner: str, query: ListQuery, now: int) -> WebhookListing:
    """A page of a user's endpoints, by id."""
    return listed(
        WebhookListing,
        query,
        f"webhooks|{owner}",
        auth.cursors(now),
        lambda limit, start: store.find(owner, limit, start),
        store.key,
        lambda found: [shapes.shown(rows.to_endpoint(row), now) for row in found],
    )


def load(owner: str, webhook: str) -> Endpoint:
    """An endpoint. Raises WebhookNotFound."""
    found = store.load(owner, webhook)
    if found is None:
        raise WebhookNotFound
    return found


def show(owner: str, webhook: str, now: int) -> WebhookReply:
    """Raises WebhookNotFound."""
    return shapes.shown(load(owner, webhook), now)


def change(owner: str, webhook: str, request: WebhookChange, now: int) -> WebhookReply:
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
        given |= {"disabled_at": None if request.enabled else now, "disabled_because": by_hand}
    try:
        return shapes.shown(store.change(owner, webhook, given | {"updated_at": now}), now)
    except db.Failed:
        raise WebhookNotFound from None


def remove(owner: str, webhook: str) -> None:
    """It goes at once; what was on its way to it goes when its time comes. Raises WebhookNotFound."""
    load(owner, webhook)
    with suppress(db.Cancelled):  # it went just now, perhaps by this very request, whose answer was lost
        db.write(*store.delete(owner, webhook))


def rotate(owner: str, webhook: str, idempotency_key: str | None, now: int) -> WebhookCreated:
    """A new secret; for a day webhooks are signed with the old one, too. The same Idempotency-Key within ten minutes
    gets the same answer. Raises WebhookNotFound."""
    key, secret = idempotency_key and digest(idempotency_key), _new_secret()
    for _ in range(_TRIES):
        before = load(owner, webhook)
        if model.rotated_before(before, key, now) or before.secrets[0].value == secret:
            return WebhookCreated(webhook=shapes.shown(before, now), secret=before.secrets[0].value)
        after = model.rotated(before, secret, key, now)
        try:
            store.rotate(before, after)
        except db.Failed:
            continue  # changed meanwhile; or by this very request, whose answer was lost
        return WebhookCreated(webhook=shapes.shown(after, now), secret=secret)
    raise Unavailable


def test(owner: str, webhook: str, now: int) -> Sent:
    """Send a webhook that tells of nothing. Raises WebhookNotFound, Disabled."""
    endpoint = load(owner, webhook)
    if not endpoint.enabled:
        raise model.Disabled
    happening = Happening(TEST, secrets.token_hex(8), now, now * 10, {"webhookId": webhook, "userId": owner})
    new = fanout.deliveries([endpoint], happening, now)
    db.write(*fanout.parts(new))
    fanout.send(new)
    return Sent(delivery_id=new[0].id)


def list_deliveries(owner: str, webhook: str, query: DeliveryQuery, now: int) -> DeliveryListing:
    """A page of what is on its way to an endpoint, or was in the last 30 days, newest first. Raises WebhookNotFound."""
    load(owner, webhook)
    return listed(
        DeliveryListing,
        query,
        f"deliveries|{owner}|{webhook}",
        auth.cursors(now),
        lambda limit, start: store.find_deliveries(owner, webhook, query, limit, start),
        store.key,
        lambda found: [shapes.delivery(delivery) for delivery in store.load_deliveries(found, now)],
    )


def redeliver(owner: str, webhook: str, delivery_id: str, now: int) -> Sent:
    """Send a delivery (again) at once, under the same id. One that is under way already stays as it is.

    Raises WebhookNotFound, DeliveryNotFound, Disabled.
    """
    if not load(owner, webhook).enabled:
        raise model.Disabled
    for _ in range(_TRIES):
        before: Delivery | None = store.load_delivery(owner, webhook, delivery_id, now)
        if before is None:
            raise DeliveryNotFound
        after = model.sent_again(before, now)
        if after is None:
            break
        if store.save(before, after, now):
            fanout.send([after])
            break
    else:
        raise Unavailable
    return Sent(delivery_id=delivery_id)
