"""The table `webhooks`: its rows and indexes, and how endpoints and deliveries become rows, and rows these.

    owner           ~           how many endpoints a user has
    owner           W#webhook   an endpoint
    owner#webhook   D#delivery  one event for one endpoint, with its attempts; the id sorts by time

Index `listing` (pk, sk) is what lists read; `due` (dueShard, dueAt) holds the deliveries that have not ended, by when
the sweep must look after them. Those do not expire; the others do, after 30 days.
"""

from typing import Any

from pynamodb.attributes import BooleanAttribute, ListAttribute, MapAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.aws.sqs import MAX_DELAY
from chalicelib.core.settings import settings
from chalicelib.webhooks.entities import Delivery, DeliveryAttempt, Endpoint, SigningSecret
from chalicelib.webhooks.rules import RETENTION, sweep_due_at

WEBHOOKS_TABLE = settings.resource_name("webhooks")
ENDPOINT, DELIVERY, COUNT = "W#", "D#", "~"


class DeliveryListIndex(GlobalSecondaryIndex["DeliveryRow"]):
    class Meta:
        index_name = "listing"
        projection = IncludeProjection(["status", "event"])

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class DeliveryDueIndex(GlobalSecondaryIndex["DeliveryRow"]):
    class Meta:
        index_name = "due"
        projection = KeysOnlyProjection()

    due_shard = NumberAttribute(attr_name="dueShard", hash_key=True)
    due_at = NumberAttribute(attr_name="dueAt", range_key=True)


class EndpointCountRow(Model):
    class Meta:
        table_name = WEBHOOKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=COUNT)
    endpoints = NumberAttribute()


class EndpointRow(Model):
    class Meta:
        table_name = WEBHOOKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    url = UnicodeAttribute()
    events: ListAttribute[str] = ListAttribute()
    description = UnicodeAttribute(null=True)
    secrets: ListAttribute[Any] = ListAttribute()
    rotation_key = UnicodeAttribute(attr_name="rotation", null=True)
    rotated_at = NumberAttribute(attr_name="rotatedAt", null=True)
    enabled = BooleanAttribute()
    disabled_at = NumberAttribute(attr_name="disabledAt", null=True)
    disabled_reason = UnicodeAttribute(attr_name="disabledBecause", null=True)
    failing_since = NumberAttribute(attr_name="failingSince", null=True)
    failed_at = NumberAttribute(attr_name="failedAt", null=True)
    slow = BooleanAttribute(null=True)
    not_before = NumberAttribute(attr_name="notBefore", null=True)
    slots: Any = MapAttribute(attr_name="lanes")
    request_digest = UnicodeAttribute(attr_name="request")
    revision = NumberAttribute(attr_name="rev")
    created_at = NumberAttribute(attr_name="createdAt")
    updated_at = NumberAttribute(attr_name="updatedAt")


@dynamodb.register_table
class DeliveryRow(Model):
    class Meta:
        table_name = WEBHOOKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    event = UnicodeAttribute()
    body = UnicodeAttribute()
    sequence = NumberAttribute()
    status = UnicodeAttribute()
    tries = NumberAttribute()
    deferrals = NumberAttribute()
    attempts: ListAttribute[Any] = ListAttribute()
    created_at = NumberAttribute(attr_name="createdAt")
    since = NumberAttribute()
    next_at = NumberAttribute(attr_name="nextAt", null=True)
    claim = UnicodeAttribute(null=True)
    ended_at = NumberAttribute(attr_name="endedAt", null=True)
    error = UnicodeAttribute(null=True)
    due_shard = NumberAttribute(attr_name="dueShard", null=True)
    due_at = NumberAttribute(attr_name="dueAt", null=True)
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)

    listing = DeliveryListIndex()
    due = DeliveryDueIndex()


def to_stored_secrets(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [secret.model_dump(exclude_none=True) for secret in endpoint.secrets]


_STORED_OF_ENDPOINT = {name: attribute.attr_name for name, attribute in EndpointRow.get_attributes().items()}
_PLAIN_OF_ENDPOINT = sorted(set(Endpoint.model_fields) & set(_STORED_OF_ENDPOINT) - {"secrets"})


def to_endpoint(row: dynamodb.Row) -> Endpoint:
    values = {name: row[_STORED_OF_ENDPOINT[name]] for name in _PLAIN_OF_ENDPOINT if _STORED_OF_ENDPOINT[name] in row}
    secrets = [SigningSecret.model_construct(value=each["value"], until=each.get("until")) for each in row["secrets"]]
    return Endpoint.model_construct(owner=row["pk"], id=row["sk"].removeprefix(ENDPOINT), secrets=secrets, **values)


def message_keys(row: dynamodb.Row) -> dict[str, str]:
    """What a message says of a delivery: whose, of which webhook, and which."""
    owner, _, webhook = row["pk"].partition("#")
    return {"owner": owner, "webhook": webhook, "delivery": row["sk"].removeprefix(DELIVERY)}


def delivery_values(delivery: Delivery, now: int) -> dict[str, Any]:
    """A delivery as its row's attributes, the derived ones included; None: the attribute is absent."""
    values = delivery.model_dump(exclude={"owner", "webhook_id", "id", "attempts"})
    at = sweep_due_at(delivery, now, MAX_DELAY)
    ended = delivery.ended_at
    return values | {
        "attempts": [attempt.model_dump(exclude_none=True, exclude_defaults=True) for attempt in delivery.attempts],
        "due_at": at,
        "due_shard": None if at is None else delivery_shard(delivery.owner, delivery.webhook_id, delivery.id),
        "expires_at": None if ended is None else (ended + RETENTION) // 1_000,
    }


def delivery_row(owner: str, webhook_id: str, delivery_id: str) -> dynamodb.Item:
    return dynamodb.item(DeliveryRow, pk=partition_key(owner, webhook_id), sk=DELIVERY + delivery_id)


def partition_key(owner: str, webhook_id: str) -> str:
    return f"{owner}#{webhook_id}"


def delivery_shard(owner: str, webhook_id: str, delivery_id: str) -> int:
    return dynamodb.shard(f"{owner}#{webhook_id}#{delivery_id}")


_STORED_OF_DELIVERY = {name: attribute.attr_name for name, attribute in DeliveryRow.get_attributes().items()}
_PLAIN_OF_DELIVERY = sorted(set(Delivery.model_fields) & set(_STORED_OF_DELIVERY) - {"attempts"})


def to_delivery(row: dynamodb.Row) -> Delivery:
    stored = _STORED_OF_DELIVERY
    values = {name: row[stored[name]] for name in _PLAIN_OF_DELIVERY if stored[name] in row}
    attempts = [DeliveryAttempt.model_construct(**each) for each in row["attempts"]]
    named = message_keys(row)
    return Delivery.model_construct(
        owner=named["owner"], webhook_id=named["webhook"], id=named["delivery"], attempts=attempts, **values
    )
