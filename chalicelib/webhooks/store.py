"""Named queries and conditional writes on the table `webhooks`."""

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib import dynamodb
from chalicelib.http.pagination import MIN_ROWS_EXAMINED
from chalicelib.webhooks.entities import Delivery, Endpoint
from chalicelib.webhooks.rules import MAX_RESEND_INTERVAL, SWEEP_DELAY
from chalicelib.webhooks.schemas import DeliveryQuery
from chalicelib.webhooks.tables import (
    COUNT,
    DELIVERY,
    ENDPOINT,
    DeliveryRow,
    EndpointCountRow,
    EndpointRow,
    delivery_row,
    delivery_shard,
    delivery_values,
    partition_key,
    to_delivery,
    to_endpoint,
    to_stored_secrets,
)

# Endpoints.


def create_items(endpoint: Endpoint, maximum: int) -> list[dynamodb.TransactItem]:
    """The items of the transaction that creates an endpoint, and counts it.

    The first item fails where the endpoint exists, the second where the user has `maximum` endpoints.
    """
    fields = endpoint.model_dump(exclude={"owner", "id", "secrets"}, exclude_none=True)
    row = dynamodb.item(
        EndpointRow, pk=endpoint.owner, sk=ENDPOINT + endpoint.id, secrets=to_stored_secrets(endpoint), **fields
    )
    count = EndpointCountRow.endpoints
    below_limit = dynamodb.not_exists(count) | dynamodb.less_than(count, maximum)
    return [
        dynamodb.transact_put(row, dynamodb.not_exists(EndpointRow.pk)),
        dynamodb.transact_update(_count_row(endpoint.owner), [dynamodb.add(count, 1)], below_limit),
    ]


def delete_items(owner: str, webhook_id: str) -> list[dynamodb.TransactItem]:
    """The items of the transaction that deletes an endpoint. The first item fails where it does not exist."""
    return [
        dynamodb.transact_delete(_endpoint_row(owner, webhook_id), dynamodb.exists(EndpointRow.pk)),
        dynamodb.transact_update(_count_row(owner), [dynamodb.add(EndpointCountRow.endpoints, -1)]),
    ]


def load_endpoint(owner: str, webhook_id: str) -> Endpoint | None:
    row = dynamodb.get_item(EndpointRow, owner, ENDPOINT + webhook_id)
    return None if row is None else to_endpoint(row)


def find_endpoints(owner: str, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """A page of a user's endpoints, by id, with all attributes. It starts after the key `start`."""
    is_endpoint = dynamodb.begins_with(EndpointRow.sk, ENDPOINT)
    return dynamodb.query(EndpointRow, owner, key_condition=is_endpoint, limit=limit, start=start, consistent=True)


@dynamodb.clause
def _next_revision() -> Any:
    return [EndpointRow.revision.set(EndpointRow.revision + 1)]


def update_endpoint(owner: str, webhook_id: str, values: Mapping[str, Any]) -> Endpoint:
    """Save a user's changes of an endpoint. None removes an attribute. Raises ConditionFailed where it does not
    exist."""
    actions = [*dynamodb.set_or_remove(EndpointRow, values), _next_revision()]
    return to_endpoint(dynamodb.update_item(_endpoint_row(owner, webhook_id), actions, dynamodb.exists(EndpointRow.pk)))


def save_rotation(before: Endpoint, after: Endpoint) -> None:
    """Save a rotation. Raises ConditionFailed where the endpoint was changed meanwhile, or does not exist."""
    values = {"rotation_key": after.rotation_key, "rotated_at": after.rotated_at, "updated_at": after.updated_at}
    actions = [
        *dynamodb.set_or_remove(EndpointRow, values),
        dynamodb.set_value(EndpointRow.secrets, to_stored_secrets(after)),
        dynamodb.set_value(EndpointRow.revision, before.revision + 1),
    ]
    unchanged = dynamodb.equals(EndpointRow.revision, before.revision)
    dynamodb.update_item(_endpoint_row(before.owner, before.id), actions, unchanged)


def acquire_slot(owner: str, webhook_id: str, slot: str, until: int, now: int, *, known: Endpoint | None) -> Endpoint:
    """Acquire a slot, and return the endpoint as stored afterwards.

    Raises ConditionFailed where the slot is in use, or where the endpoint is disabled or does not exist. Where `known`
    is None, because the caller has not read the endpoint, also where the last attempt failed or was slow, or where the
    receiver asked for a pause.

    Where the response is lost, the caller acquires another slot. This slot becomes free at `until`.
    """
    condition = dynamodb.equals(EndpointRow.enabled, True) & _is_free(slot, now)  # noqa: FBT003  # a stored value
    if known is None:
        not_slow = dynamodb.equals(EndpointRow.slow, False) | dynamodb.not_exists(EndpointRow.slow)  # noqa: FBT003
        condition &= dynamodb.not_exists(EndpointRow.failing_since) & dynamodb.not_exists(EndpointRow.not_before)
        condition &= not_slow
    return to_endpoint(dynamodb.update_item(_endpoint_row(owner, webhook_id), [_set_slot(slot, until)], condition))


def save_attempt_result(before: Endpoint, after: Endpoint, slot: str, until: int) -> bool:
    """Save what an attempt changed of the endpoint, and release the slot.

    An attempt disables an endpoint only if its user has not changed it meanwhile. Returns False where the user has, or
    where the endpoint does not exist.
    """
    names = ("failing_since", "failed_at", "slow", "not_before", "enabled", "disabled_at", "disabled_reason")
    values = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
    condition = _is_used_until(slot, until)
    if not after.enabled:
        condition &= dynamodb.equals(EndpointRow.revision, before.revision)
    actions = [*dynamodb.set_or_remove(EndpointRow, values), _remove_slot(slot)]
    try:
        dynamodb.update_item(_endpoint_row(before.owner, before.id), actions, condition)
    except dynamodb.ConditionFailed:
        return False
    return True


def release_slot(endpoint: Endpoint, slot: str, until: int) -> None:
    """Release a slot that was acquired until `until`, and change nothing else."""
    try:
        row = _endpoint_row(endpoint.owner, endpoint.id)
        dynamodb.update_item(row, [_remove_slot(slot)], _is_used_until(slot, until))
    except dynamodb.ConditionFailed:
        return


@dynamodb.clause
def _is_free(slot: str, now: int) -> Any:
    return EndpointRow.slots[slot].does_not_exist() | (EndpointRow.slots[slot] <= now)


@dynamodb.clause
def _is_used_until(slot: str, until: int) -> Any:
    return EndpointRow.slots[slot] == until


@dynamodb.clause
def _set_slot(slot: str, until: int) -> Any:
    return [EndpointRow.slots[slot].set(until)]


@dynamodb.clause
def _remove_slot(slot: str) -> Any:
    return [EndpointRow.slots[slot].remove()]


def _endpoint_row(owner: str, webhook_id: str) -> dynamodb.Item:
    return dynamodb.item(EndpointRow, pk=owner, sk=ENDPOINT + webhook_id)


def _count_row(owner: str) -> dynamodb.Item:
    return dynamodb.item(EndpointCountRow, pk=owner, sk=COUNT)


# Deliveries.


def delivery_item(delivery: Delivery) -> dynamodb.TransactItem:
    """Store a new delivery, as part of a transaction."""
    pk = partition_key(delivery.owner, delivery.webhook_id)
    values = delivery_values(delivery, delivery.created_at)
    return dynamodb.transact_put(dynamodb.item(DeliveryRow, pk=pk, sk=DELIVERY + delivery.id, **values))


def claim_delivery(owner: str, webhook_id: str, delivery_id: str, token: str, now: int, until: int) -> Delivery:
    """Claim a delivery that is due, until `until`. `token` identifies the claim.

    Raises ConditionFailed where the delivery is not due, or another process has claimed it.
    """
    values = {
        "claim": token,
        "next_at": until,
        "due_at": until,
        "due_shard": delivery_shard(owner, webhook_id, delivery_id),
    }
    is_due = dynamodb.equals(DeliveryRow.status, "pending") & dynamodb.at_most(DeliveryRow.next_at, now)
    row = delivery_row(owner, webhook_id, delivery_id)
    try:
        return to_delivery(dynamodb.update_item(row, dynamodb.set_or_remove(DeliveryRow, values), is_due))
    except dynamodb.ConditionFailed as failed:
        if failed.row is not None and failed.row.get("claim") == token:
            return to_delivery(failed.row)  # an earlier try claimed it, and its response was lost
        raise


def save_delivery(before: Delivery, after: Delivery, now: int) -> bool:
    """Save a delivery. Returns False where the stored delivery is no longer `before`."""
    old_values, new_values = delivery_values(before, now), delivery_values(after, now)
    derived = ("due_at", "due_shard", "expires_at")
    changed = {name: value for name, value in new_values.items() if value != old_values[name] or name in derived}
    claim = DeliveryRow.claim
    condition = dynamodb.not_exists(claim) if before.claim is None else dynamodb.equals(claim, before.claim)
    condition &= dynamodb.equals(DeliveryRow.status, before.status)
    if before.next_at is not None:
        condition &= dynamodb.equals(DeliveryRow.next_at, before.next_at)
    row = delivery_row(before.owner, before.webhook_id, before.id)
    try:
        dynamodb.update_item(row, dynamodb.set_or_remove(DeliveryRow, changed), condition)
    except dynamodb.ConditionFailed:
        return False
    return True


def delete_delivery(owner: str, webhook_id: str, delivery_id: str, token: str) -> None:
    """Delete a delivery whose endpoint was deleted, if it is still claimed with `token`."""
    row = delivery_row(owner, webhook_id, delivery_id)
    try:
        dynamodb.transact_write(dynamodb.transact_delete(row, dynamodb.equals(DeliveryRow.claim, token)))
    except dynamodb.TransactionCancelled:
        return


def load_delivery(owner: str, webhook_id: str, delivery_id: str, now: int) -> Delivery | None:
    row = dynamodb.get_item(DeliveryRow, partition_key(owner, webhook_id), DELIVERY + delivery_id)
    return to_delivery(row) if row is not None and dynamodb.not_expired(row, now) else None


def find_deliveries(
    owner: str, webhook_id: str, query: DeliveryQuery, limit: int, start: dict[str, Any] | None
) -> dynamodb.Page:
    """A page of the keys of an endpoint's deliveries, newest first. It starts after the key `start`."""
    query_filter: dynamodb.Clause | None = None
    for attribute, value in ((DeliveryRow.status, query.status), (DeliveryRow.event, query.event)):
        if value is not None:
            matches = dynamodb.equals(attribute, value)
            query_filter = matches if query_filter is None else query_filter & matches
    if query_filter is not None:
        limit = max(limit, MIN_ROWS_EXAMINED)
    return dynamodb.query(
        DeliveryRow,
        partition_key(owner, webhook_id),
        index="listing",
        key_condition=dynamodb.begins_with(DeliveryRow.sk, DELIVERY),
        filter_condition=query_filter,
        limit=limit,
        start=start,
        forward=False,
    )


def cursor_key(row: dynamodb.Row) -> dict[str, Any]:
    """The key from which a list continues after this row."""
    return {"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}


def load_deliveries(rows: Sequence[dynamodb.Row], now: int) -> list[Delivery]:
    """The deliveries of index rows, in the order of the rows. Deleted and expired deliveries are left out."""
    by_key = {row["sk"]: row for row in dynamodb.batch_get(DeliveryRow, [(row["pk"], row["sk"]) for row in rows])}
    ordered = [by_key[row["sk"]] for row in rows if row["sk"] in by_key]
    return [to_delivery(row) for row in ordered if dynamodb.not_expired(row, now)]


def find_due(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of the deliveries in a shard that the sweep must process."""
    due = dynamodb.at_most(DeliveryRow.due_at, now)
    return dynamodb.query(DeliveryRow, shard_number, index="due", key_condition=due, limit=limit, start=start)


def postpone(row: dynamodb.Row, now: int) -> bool:
    """Have the sweep process a due delivery again, after an interval that grows (`MAX_RESEND_INTERVAL`).

    Returns False where another process has handled the delivery. One request, because DynamoDB computes the interval
    from the time of the next attempt, which the index does not have. Two if the interval has reached its maximum.
    """
    is_due = dynamodb.exists(DeliveryRow.due_at) & dynamodb.at_most(DeliveryRow.due_at, now)
    grows = dynamodb.greater_than(DeliveryRow.next_at, now + SWEEP_DELAY - MAX_RESEND_INTERVAL)
    key = dynamodb.item(DeliveryRow, pk=row["pk"], sk=row["sk"])
    try:
        dynamodb.update_item(key, [_set_due_after_overdue_time(now + SWEEP_DELAY + now)], is_due & grows)
    except dynamodb.ConditionFailed as failed:
        if (failed.row or {}).get("dueAt", now + 1) > now:
            return False
    else:
        return True
    try:
        dynamodb.update_item(key, [dynamodb.set_value(DeliveryRow.due_at, now + MAX_RESEND_INTERVAL)], is_due)
    except dynamodb.ConditionFailed:
        return False
    return True


@dynamodb.clause
def _set_due_after_overdue_time(at_plus_now: int) -> Any:
    """Due at a time plus `now - next_at`. DynamoDB allows one operator, so `now` is added to the time before."""
    return [DeliveryRow.due_at.set(at_plus_now - DeliveryRow.next_at)]
