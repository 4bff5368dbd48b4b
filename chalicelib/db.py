"""The one way to DynamoDB: reads, single writes and transactions, with their timeouts.

Stores describe their rows as PynamoDB models and contribute parts of transactions; this module sends them through
one client. Rows travel as plain dicts of Python values (numbers are ints where they are whole).

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pynamodb.connection import Connection
from pynamodb.exceptions import TransactWriteError, VerboseClientError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib.errors import Unavailable
from chalicelib.retries import TRIES, code, patiently, pause

Row = dict[str, Any]
Key = tuple[str, ...]
T = TypeVar("T")
R = TypeVar("R", bound=type[Model])

connection = Connection(connect_timeout_seconds=1, read_timeout_seconds=3, max_retry_attempts=2)


class Failed(Exception):
    """A single write's condition did not hold; `row` is the item as it stands, None where there is none."""

    def __init__(self, row: Row | None) -> None:
        self.row = row
        super().__init__("condition not met")


class Cancelled(Exception):
    """A transaction wrote nothing: the conditions of the parts in `rows` did not hold.

    `rows` maps the index of each such part, in the order given to `write`, to its item as it stands (None: no item).
    """

    def __init__(self, rows: dict[int, Row | None]) -> None:
        self.rows = rows
        super().__init__(f"conditions not met: {sorted(rows)}")


@dataclass(frozen=True)
class Part:
    """One write of a transaction: `kind` is put, update, delete or check."""

    kind: str
    row: Model
    actions: tuple[Action, ...] = ()
    condition: Condition | None = None


def register(model: R) -> R:
    """Make a table's keys and indexes known to the one client; a decorator for the model that defines them."""
    connection.add_meta_table(model._get_connection().get_meta_table())  # noqa: SLF001  # where PynamoDB keeps it
    return model


def put(row: Model, condition: Condition | None = None) -> Part:
    return Part("put", row, condition=condition)


def change(row: Model, actions: Iterable[Action], condition: Condition | None = None) -> Part:
    return Part("update", row, tuple(actions), condition)


def remove(row: Model, condition: Condition | None = None) -> Part:
    return Part("delete", row, condition=condition)


def check(row: Model, condition: Condition) -> Part:
    """Write nothing, but fail the transaction where the condition does not hold."""
    return Part("check", row, condition=condition)


def decode(item: dict[str, Any]) -> Row:
    """A stored item as a dict of Python values."""
    return {name: _value(tagged) for name, tagged in item.items()}


def _value(tagged: dict[str, Any]) -> Any:
    ((tag, value),) = tagged.items()
    if tag == "N":
        return int(value) if value.lstrip("-").isdigit() else float(value)
    if tag == "M":
        return decode(value)
    if tag == "L":
        return [_value(each) for each in value]
    if tag == "NULL":
        return None
    return value


def get(model: type[Model], *key: str) -> Row | None:
    """The item with this key, read consistently; None where there is none."""
    kwargs = _keyed(model, key)
    answer = patiently(lambda: connection.dispatch("GetItem", kwargs | {"ConsistentRead": True}))
    return decode(answer["Item"]) if "Item" in answer else None


def _keyed(model: type[Model], key: Key) -> dict[str, Any]:
    hash_key, *range_key = key
    return model.get_operation_kwargs_from_class(hash_key, range_key[0] if range_key else None)


def get_many(model: type[Model], keys: Sequence[Key], *, consistent: bool = False) -> list[Row]:
    """Those items of at most 100 keys that exist, in no order. What DynamoDB leaves over is asked for again, in a
    moment if it left all of it (it does so when it throttles); Unavailable when that does not end."""
    if not keys:
        return []
    table = model.Meta.table_name
    wanted: dict[str, Any] = {
        table: {
            "Keys": [_keyed(model, key)["Key"] for key in keys],
            "ConsistentRead": consistent,
        }
    }
    rows: list[Row] = []
    in_vain = 0
    while wanted:
        request = {"RequestItems": wanted}
        answer = patiently(lambda request=request: connection.dispatch("BatchGetItem", request))  # type: ignore[misc]
        found = answer["Responses"].get(table, [])
        rows += [decode(item) for item in found]
        wanted = answer.get("UnprocessedKeys") or {}
        if wanted and not found:
            if in_vain == TRIES:
                raise Unavailable
            pause(in_vain)
            in_vain += 1
    return rows


@dataclass(frozen=True)
class Page:
    """One page of a query: its rows, and the key to go on from (None at the end)."""

    rows: list[Row]
    next: dict[str, Any] | None


def query(
    model: type[Model],
    hash_key: str | int,
    *,
    index: str | None = None,
    within: Condition | None = None,
    matching: Condition | None = None,
    limit: int,
    start: dict[str, Any] | None = None,
    forward: bool = True,
    consistent: bool = False,
    select: Sequence[str] | None = None,
) -> Page:
    """Rows of one partition in key order, `limit` of them examined at the most.

    `within` narrows the range key, `matching` filters what was read (so a page may be short and still have a next).
    """
    answer = patiently(
        lambda: connection.query(
            model.Meta.table_name,
            cast(str, hash_key),
            range_key_condition=within,
            filter_condition=matching,
            index_name=index,
            limit=limit,
            exclusive_start_key=start,
            scan_index_forward=forward,
            consistent_read=consistent,
            attributes_to_get=list(select) if select else None,
        )
    )
    return Page([decode(item) for item in answer["Items"]], answer.get("LastEvaluatedKey"))


def count(model: type[Model], hash_key: str, *, index: str, most: int) -> int:
    """How many rows a partition of an index has; at most `most` are read."""
    table = model.Meta.table_name
    answer = patiently(lambda: connection.query(table, hash_key, index_name=index, limit=most, select="COUNT"))
    return int(answer["Count"])


def pages(fetch: Callable[[dict[str, Any] | None], Page]) -> Iterator[Page]:
    """Every page of a query, one after the other."""
    start: dict[str, Any] | None = None
    while True:
        page = fetch(start)
        yield page
        if page.next is None:
            return
        start = page.next


def update(row: Model, actions: Iterable[Action], condition: Condition | None = None) -> Row:
    """Change one item if the condition holds, and return it as it is then. Raises Failed with the item if not."""
    kwargs = row.get_update_kwargs_from_instance(
        actions=list(actions), condition=condition, return_values_on_condition_failure="ALL_OLD"
    )
    try:
        answer = patiently(lambda: connection.dispatch("UpdateItem", kwargs | {"ReturnValues": "ALL_NEW"}))
    except VerboseClientError as error:
        if code(error) != "ConditionalCheckFailedException":
            raise
        stands = (getattr(error.__cause__, "response", None) or {}).get("Item")
        raise Failed(decode(stands) if stands else get(type(row), *kwargs_key(row))) from error
    return decode(answer["Attributes"])


def kwargs_key(row: Model) -> Key:
    """The values of a row's own key, hash first."""
    names = [name for name, attribute in type(row).get_attributes().items() if attribute.is_hash_key]
    names += [name for name, attribute in type(row).get_attributes().items() if attribute.is_range_key]
    return tuple(getattr(row, name) for name in names)


def write(*parts: Part) -> None:
    """All of the parts or none, in one transaction. Raises Cancelled where conditions did not hold.

    The transaction carries a token: one that was applied and whose answer was lost is not applied again.
    """
    groups: dict[str, list[tuple[int, dict[str, Any]]]] = {"check": [], "delete": [], "put": [], "update": []}
    for index, part in enumerate(parts):
        groups[part.kind].append((index, _kwargs(part)))
    order = [index for group in groups.values() for index, _ in group]
    token = uuid.uuid4().hex

    def send() -> None:
        try:
            connection.transact_write_items(
                [kwargs for _, kwargs in groups["check"]],
                [kwargs for _, kwargs in groups["delete"]],
                [kwargs for _, kwargs in groups["put"]],
                [kwargs for _, kwargs in groups["update"]],
                client_request_token=token,
            )
        except TransactWriteError as error:
            raise _cancelled(error, order) or error from error

    patiently(send)


def _kwargs(part: Part) -> dict[str, Any]:
    if part.kind == "update":
        return part.row.get_update_kwargs_from_instance(
            actions=list(part.actions), condition=part.condition, return_values_on_condition_failure="ALL_OLD"
        )
    if part.kind == "put":
        return part.row.get_save_kwargs_from_instance(
            condition=part.condition, return_values_on_condition_failure="ALL_OLD"
        )
    return part.row.get_delete_kwargs_from_instance(
        condition=part.condition, return_values_on_condition_failure="ALL_OLD"
    )


def _cancelled(error: TransactWriteError, order: list[int]) -> Cancelled | None:
    """What the cancellation says of our conditions; None where it is about something else (a conflict, a limit)."""
    rows: dict[int, Row | None] = {}
    for index, reason in zip(order, error.cancellation_reasons, strict=False):
        if reason is not None and reason.code == "ConditionalCheckFailed":
            rows[index] = decode(reason.raw_item) if reason.raw_item else None
    return Cancelled(rows) if rows else None


def reachable() -> None:
    """Raise Unavailable unless every table answers to a read."""
    for table, meta in connection._tables.items():  # noqa: SLF001  # what `register` put there
        key = {name: {"S": "~"} for name in (meta.hash_keyname, meta.range_keyname) if name}
        try:
            patiently(lambda table=table, key=key: connection.dispatch("GetItem", {"TableName": table, "Key": key}))  # type: ignore[misc]
        except VerboseClientError as error:
            raise Unavailable(f"The table {table} does not answer: {code(error)}.") from error
