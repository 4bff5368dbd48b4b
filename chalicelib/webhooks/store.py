"""Named queries and conditional writes on the table `webhooks`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pynamodb.expressions.condition import Condition

from chalicelib import db
from chalicelib.pages import EXAMINED
from chalicelib.webhooks.rows import (
    COUNT,
    DELIVERY,
    ENDPOINT,
    CountRow,
    DeliveryRow,
    EndpointRow,
    partition,
    row_of,
    secrets_of,
    shard,
    to_delivery,
    to_endpoint,
    values_of,
)
from chalicelib.webhooks.shapes import DeliveryQuery
from chalicelib.webhooks.webhook import Delivery, Endpoint

# Endpoints.


def create(endpoint: Endpoint, most: int) -> list[db.Part]:
    """Parts of the transaction that makes an endpoint; the first fails where it is there, the second at `most`."""
    fields = endpoint.model_dump(exclude={"owner", "id", "secrets"}, exclude_none=True)
    row = EndpointRow(endpoint.owner, ENDPOINT + endpoint.id, secrets=secrets_of(endpoint), **fields)
    number = CountRow.endpoints
    return [
        db.put(row, EndpointRow.pk.does_not_exist()),
        db.change(CountRow(endpoint.owner, COUNT), [number.add(1)], number.does_not_exist() | (number < most)),
    ]


def delete(owner: str, webhook: str) -> list[db.Part]:
    """Parts of the transaction that removes an endpoint; the first fails where it is not there."""
    return [
        db.remove(EndpointRow(owner, ENDPOINT + webhook), EndpointRow.pk.exists()),
        db.change(CountRow(owner, COUNT), [CountRow.endpoints.add(-1)]),
    ]


def load(owner: str, webhook: str) -> Endpoint | None:
    row = db.get(EndpointRow, owner, ENDPOINT + webhook)
    return None if row is None else to_endpoint(row)


def find(owner: str, limit: int, start: dict[str, Any] | None) -> db.Page:
    """A user's endpoints, whole, by id."""
    within = EndpointRow.sk.startswith(ENDPOINT)
    return db.query(EndpointRow, owner, within=within, limit=limit, start=start, consistent=True)


def change(owner: str, webhook: str, values: Mapping[str, Any]) -> Endpoint:
    """What a user changes of an endpoint (None removes an attribute). Raises db.Failed where it is not there."""
    actions = [*db.assigned(EndpointRow, values), EndpointRow.rev.set(EndpointRow.rev + 1)]
    return to_endpoint(db.update(EndpointRow(owner, ENDPOINT + webhook), actions, EndpointRow.pk.exists()))


def rotate(before: Endpoint, after: Endpoint) -> None:
    """Save a rotation. Raises db.Failed where the endpoint was changed meanwhile, or is gone."""
    values = {"rotation": after.rotation, "rotated_at": after.rotated_at, "updated_at": after.updated_at}
    actions = [
        *db.assigned(EndpointRow, values),
        EndpointRow.secrets.set(secrets_of(after)),
        EndpointRow.rev.set(before.rev + 1),
    ]
    db.update(EndpointRow(before.owner, ENDPOINT + before.id), actions, EndpointRow.rev == before.rev)


def take_lane(owner: str, webhook: str, lane: str, until: int, now: int, *, known: Endpoint | None) -> Endpoint:
    """Take a lane, and with it the endpoint as it is. Raises db.Failed where the lane is taken, the endpoint disabled
    or gone; where nothing is `known` of it, also where it is in trouble or wants to be left alone.

    Where the answer is lost, another lane is taken, and the first is free again when its time is over.
    """
    row, taken = EndpointRow(owner, ENDPOINT + webhook), EndpointRow.lanes[lane]
    condition = (EndpointRow.enabled == True) & (taken.does_not_exist() | (taken <= now))  # noqa: E712  # an expression
    if known is None:
        well = EndpointRow.failing_since.does_not_exist() & EndpointRow.not_before.does_not_exist()
        condition &= well & ((EndpointRow.slow == False) | EndpointRow.slow.does_not_exist())  # noqa: E712
    return to_endpoint(db.update(row, [taken.set(until)], condition))


def leave_lane(before: Endpoint, after: Endpoint, lane: str, until: int) -> bool:
    """Leave a lane, with what the attempt means for the endpoint. It is disabled only if its user has not changed it
    meanwhile; False where that was so, or it is gone."""
    row, own = EndpointRow(before.owner, ENDPOINT + before.id), EndpointRow.lanes[lane] == until
    names = ("failing_since", "failed_at", "slow", "not_before", "enabled", "disabled_at", "disabled_because")
    values = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
    condition = own if after.enabled else own & (EndpointRow.rev == before.rev)
    try:
        db.update(row, [*db.assigned(EndpointRow, values), EndpointRow.lanes[lane].remove()], condition)
    except db.Failed:
        return False
    return True


def only_leave(endpoint: Endpoint, lane: str, until: int) -> None:
    """Leave a lane, and nothing else."""
    try:
        row, taken = EndpointRow(endpoint.owner, ENDPOINT + endpoint.id), EndpointRow.lanes[lane]
        db.update(row, [taken.remove()], taken == until)
    except db.Failed:
        return


# Deliveries.


def new(delivery: Delivery) -> db.Part:
    """Part of a transaction: something is on its way to an endpoint."""
    values = {name: value for name, value in values_of(delivery, delivery.created_at).items() if value is not None}
    return db.put(DeliveryRow(partition(delivery.owner, delivery.webhook), DELIVERY + delivery.id, **values))


def claim(owner: str, webhook: str, delivery: str, token: str, now: int, until: int) -> Delivery:
    """Take a delivery whose time has come. Raises db.Failed where it has not, or somebody else has it."""
    row, place = row_of(owner, webhook, delivery), shard(owner, webhook, delivery)
    actions = [
        DeliveryRow.claim.set(token),
        DeliveryRow.next_at.set(until),
        DeliveryRow.due_at.set(until),
        DeliveryRow.due_shard.set(place),
    ]
    try:
        return to_delivery(db.update(row, actions, (DeliveryRow.status == "pending") & (DeliveryRow.next_at <= now)))
    except db.Failed as failed:
        if failed.row is not None and failed.row.get("claim") == token:
            return to_delivery(failed.row)  # taken by the same request, whose answer was lost
        raise


def save(before: Delivery, after: Delivery, now: int) -> bool:
    """Save what became of a delivery, if it still is as it was; False where it is not."""
    known, wanted = values_of(before, now), values_of(after, now)
    derived = ("due_at", "due_shard", "expires_at")
    changed = {name: value for name, value in wanted.items() if value != known[name] or name in derived}
    claim = DeliveryRow.claim
    condition = claim.does_not_exist() if before.claim is None else claim == before.claim
    condition &= DeliveryRow.status == before.status
    if before.next_at is not None:
        condition &= DeliveryRow.next_at == before.next_at
    try:
        db.update(row_of(before.owner, before.webhook, before.id), db.assigned(DeliveryRow, changed), condition)
    except db.Failed:
        return False
    return True


def remove(owner: str, webhook: str, delivery: str, token: str) -> None:
    """A delivery goes, its endpoint being gone."""
    try:
        db.write(db.remove(row_of(owner, webhook, delivery), DeliveryRow.claim == token))
    except db.Cancelled:
        return


def load_delivery(owner: str, webhook: str, delivery: str, now: int) -> Delivery | None:
    row = db.get(DeliveryRow, partition(owner, webhook), DELIVERY + delivery)
    return to_delivery(row) if row is not None and db.kept(row, now) else None


def find_deliveries(
    owner: str, webhook: str, query: DeliveryQuery, limit: int, start: dict[str, Any] | None
) -> db.Page:
    """Keys of what is on its way to an endpoint, or was, newest first."""
    matching: Condition | None = None
    for attribute, wanted in ((DeliveryRow.status, query.status), (DeliveryRow.event, query.event)):
        if wanted is not None:
            matching = attribute == wanted if matching is None else matching & (attribute == wanted)
    if matching is not None:
        limit = max(limit, EXAMINED)
    return db.query(
        DeliveryRow,
        partition(owner, webhook),
        index="listing",
        within=DeliveryRow.sk.startswith(DELIVERY),
        matching=matching,
        limit=limit,
        start=start,
        forward=False,
    )


def key(row: db.Row) -> dict[str, Any]:
    """Where a list goes on after this row."""
    return {"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}


def load_deliveries(rows: Sequence[db.Row], now: int) -> list[Delivery]:
    """The deliveries of some index rows, in their order."""
    found = {row["sk"]: row for row in db.get_many(DeliveryRow, [(row["pk"], row["sk"]) for row in rows])}
    return [to_delivery(found[row["sk"]]) for row in rows if row["sk"] in found and db.kept(found[row["sk"]], now)]


def due(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of deliveries that the sweep must look after."""
    return db.query(DeliveryRow, shard_number, index="due", within=DeliveryRow.due_at <= now, limit=limit, start=start)


def look_again(row: db.Row, at: int, now: int) -> bool:
    """The sweep looks after a delivery again at another time; False where somebody else has looked after it."""
    condition = DeliveryRow.due_at.exists() & (DeliveryRow.due_at <= now)
    try:
        db.update(DeliveryRow(row["pk"], row["sk"]), [DeliveryRow.due_at.set(at)], condition)
    except db.Failed:
        return False
    return True
