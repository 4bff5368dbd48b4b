"""The table `webhooks`: its rows and indexes, and the conversion between rows and endpoints or deliveries.

    owner           ~           the count of a user's endpoints
    owner           W#webhook   an endpoint
    owner#webhook   D#delivery  the delivery of one event to one endpoint, with its attempts; ids sort by time

Lists read the index `listing` (pk, sk). The sweep reads the index `due` (dueShard, dueAt), which contains the
deliveries that have not ended, by the time at which the sweep must process them. A delivery that has ended expires
after 30 days.
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
    """The secrets of an endpoint as its row stores them."""
    return [secret.model_dump(exclude_none=True) for secret in endpoint.secrets]


_ENDPOINT_ATTRIBUTES = {name: attribute.attr_name for name, attribute in EndpointRow.get_attributes().items()}
_SIMPLE_ENDPOINT_FIELDS = sorted(set(Endpoint.model_fields) & set(_ENDPOINT_ATTRIBUTES) - {"secrets"})


def to_endpoint(row: dynamodb.Row) -> Endpoint:
    names = _ENDPOINT_ATTRIBUTES
    values = {field: row[names[field]] for field in _SIMPLE_ENDPOINT_FIELDS if names[field] in row}
    secrets = [SigningSecret.model_construct(value=each["value"], until=each.get("until")) for each in row["secrets"]]
    return Endpoint.model_construct(owner=row["pk"], id=row["sk"].removeprefix(ENDPOINT), secrets=secrets, **values)


def message_keys(row: dynamodb.Row) -> dict[str, str]:
    """The ids in the message of a delivery, from the key of its row."""
    owner, _, webhook_id = row["pk"].partition("#")
    return {"owner": owner, "webhook": webhook_id, "delivery": row["sk"].removeprefix(DELIVERY)}


def delivery_values(delivery: Delivery, now: int) -> dict[str, Any]:
    """The attributes of a delivery's row, including those that are derived. None means that the attribute is absent."""
    values = delivery.model_dump(exclude={"owner", "webhook_id", "id", "attempts"})
    due_at = sweep_due_at(delivery, now, MAX_DELAY)
    ended_at = delivery.ended_at
    return values | {
        "attempts": [attempt.model_dump(exclude_none=True, exclude_defaults=True) for attempt in delivery.attempts],
        "due_at": due_at,
        "due_shard": None if due_at is None else delivery_shard(delivery.owner, delivery.webhook_id, delivery.id),
        "expires_at": None if ended_at is None else (ended_at + RETENTION) // 1_000,
    }


def delivery_row(owner: str, webhook_id: str, delivery_id: str) -> dynamodb.Item:
    return dynamodb.item(DeliveryRow, pk=partition_key(owner, webhook_id), sk=DELIVERY + delivery_id)


def partition_key(owner: str, webhook_id: str) -> str:
    return f"{owner}#{webhook_id}"


def delivery_shard(owner: str, webhook_id: str, delivery_id: str) -> int:
    return dynamodb.shard(f"{owner}#{webhook_id}#{delivery_id}")


_DELIVERY_ATTRIBUTES = {name: attribute.attr_name for name, attribute in DeliveryRow.get_attributes().items()}
_SIMPLE_DELIVERY_FIELDS = sorted(set(Delivery.model_fields) & set(_DELIVERY_ATTRIBUTES) - {"attempts"})


def to_delivery(row: dynamodb.Row) -> Delivery:
    names = _DELIVERY_ATTRIBUTES
    values = {field: row[names[field]] for field in _SIMPLE_DELIVERY_FIELDS if names[field] in row}
    attempts = [DeliveryAttempt.model_construct(**each) for each in row["attempts"]]
    ids = message_keys(row)
    return Delivery.model_construct(
        owner=ids["owner"], webhook_id=ids["webhook"], id=ids["delivery"], attempts=attempts, **values
    )
