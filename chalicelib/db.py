"""The one way to DynamoDB: reads, single writes and transactions.

Stores describe their rows as PynamoDB models and contribute parts of transactions; this module sends them through
one client. Rows travel as plain dicts of Python values (numbers are ints where they are whole).
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pynamodb.exceptions import VerboseClientError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib.dynamodb import connection
from chalicelib.errors import Unavailable
from chalicelib.items import Item, Row, decode, kept, key_names, shard
from chalicelib.retries import TRIES, code, patiently, pause
from chalicelib.statements import Clause, absent, assigned, clause, equals, exists, one_of, removes, sets, worded

__all__ = [
    "Cancelled", "Clause", "Failed", "Item", "Page", "Part", "Row", "absent", "assigned", "change", "check", "clause",
    "connect", "count", "decode", "equals", "exists", "get", "get_many", "item", "kept", "one_of", "pages", "put",
    "query", "reachable", "register", "remove", "removes", "sets", "shard", "update", "write",
]  # fmt: skip

Key = tuple[str, ...]
T = TypeVar("T")
R = TypeVar("R", bound=type[Model])


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


def register(model: R) -> R:
    """Make a table's keys and indexes known to the one client; a decorator for the model that defines them."""
    table = model._get_connection().get_meta_table()  # noqa: SLF001  # where PynamoDB keeps it
    if table.table_name not in connection._tables:  # noqa: SLF001  # imported again, where that failed the first time
        connection.add_meta_table(table)
    return model


class Part(NamedTuple):
    """One write of a transaction: what DynamoDB calls it (`Put`, `Update`, ...), and what it is to do."""

    operation: str
    request: dict[str, Any]


Subject = Model | Item
"""Which item a write is about, or what is put there."""
Actions = Iterable[Action | Clause]
Where = Condition | Clause | None
"""A condition; made of clauses, it is put into words only once."""


def item(model: type[Model], **values: Any) -> Item:
    """An item, or its key alone, by the names that the model has for its attributes."""
    return Item(model, values)


def put(row: Subject, condition: Where = None) -> Part:
    whole = row.whole() if isinstance(row, Item) else row.get_save_kwargs_from_instance()["Item"]
    return Part("Put", _conditional(condition) | {"TableName": _model(row).Meta.table_name, "Item": whole})


def change(row: Subject, actions: Actions, condition: Where = None) -> Part:
    return Part("Update", _update(row, actions, condition))


def remove(row: Subject, condition: Where = None) -> Part:
    return Part("Delete", _addressed(row) | _conditional(condition))


def check(row: Subject, condition: Where) -> Part:
    """Write nothing, but fail the transaction where the condition does not hold."""
    return Part("ConditionCheck", _addressed(row) | _conditional(condition))


def get(model: type[Model], *key: str) -> Row | None:
    """The item with this key, read consistently; None where there is none."""
    return _read(model.Meta.table_name, _key(model, key))


def _read(table: str, key: dict[str, Any]) -> Row | None:
    request = {"TableName": table, "Key": key, "ConsistentRead": True}
    answer = patiently(lambda: connection.dispatch("GetItem", request))
    return decode(answer["Item"]) if "Item" in answer else None


def get_many(model: type[Model], keys: Sequence[Key], *, consistent: bool = False) -> list[Row]:
    """Those items of at most 100 keys that exist, in no order. What DynamoDB leaves over is asked for again, in a
    moment if it left all of it (it does so when it throttles); Unavailable when that does not end."""
    if not keys:
        return []
    table = model.Meta.table_name
    wanted: dict[str, Any] = {
        table: {
            "Keys": [_key(model, key) for key in keys],
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


class Page(NamedTuple):
    """One page of a query: its rows, and the key to go on from (None at the end)."""

    rows: list[Row]
    next: dict[str, Any] | None


def query(
    model: type[Model],
    hash_key: str | int,
    *,
    index: str | None = None,
    within: Where = None,
    matching: Where = None,
    limit: int,
    start: dict[str, Any] | None = None,
    forward: bool = True,
    consistent: bool = False,
) -> Page:
    """Rows of one partition in key order, `limit` of them examined at the most.

    `within` narrows the range key, `matching` filters what was read (so a page may be short and still have a next).
    """
    request = _partition(model, hash_key, index, within, matching) | {
        "Limit": limit,
        "ScanIndexForward": forward,
        "ConsistentRead": consistent,
    }
    if start is not None:
        request["ExclusiveStartKey"] = start
    answer = patiently(lambda: connection.dispatch("Query", request))
    return Page([decode(each) for each in answer["Items"]], answer.get("LastEvaluatedKey"))


def count(model: type[Model], hash_key: str, *, index: str, most: int) -> int:
    """How many rows a partition of an index has; at most `most` are read."""
    request = _partition(model, hash_key, index) | {"Limit": most, "Select": "COUNT"}
    return int(patiently(lambda: connection.dispatch("Query", request))["Count"])


def _partition(
    model: type[Model], hash_key: str | int, index: str | None, within: Where = None, matching: Where = None
) -> dict[str, Any]:
    table = model.Meta.table_name
    keys = [equals(_hash_path(table, index), hash_key), *_given(within)]
    request = worded(("KeyConditionExpression", keys), ("FilterExpression", _given(matching)))
    request["TableName"] = table
    if index is not None:
        request["IndexName"] = index
    return request


@cache
def _hash_path(table: str, index: str | None) -> Path:
    """What the partitions of a table or of an index are told apart by."""
    meta = connection.get_meta_table(table)
    return Path([meta.hash_keyname if index is None else meta.get_index_hash_keyname(index)])


def _given(where: Where) -> list[Condition | Clause]:
    return [] if where is None else [where]


def pages(fetch: Callable[[dict[str, Any] | None], Page]) -> Iterator[Page]:
    """Every page of a query, one after the other."""
    start: dict[str, Any] | None = None
    while True:
        page = fetch(start)
        yield page
        if page.next is None:
            return
        start = page.next


def update(row: Subject, actions: Actions, condition: Where = None) -> Row:
    """Change one item if the condition holds, and return it as it is then. Raises Failed with the item if not."""
    request = _update(row, actions, condition) | {"ReturnValues": "ALL_NEW"}
    try:
        answer = patiently(lambda: connection.dispatch("UpdateItem", request))
    except VerboseClientError as error:
        if code(error) != "ConditionalCheckFailedException":
            raise
        stands = (getattr(error.__cause__, "response", None) or {}).get("Item")
        raise Failed(decode(stands) if stands else _read(request["TableName"], request["Key"])) from error
    return decode(answer["Attributes"])


def write(*parts: Part) -> None:
    """All of the parts or none, in one transaction. Raises Cancelled where conditions did not hold.

    The transaction carries a token: one that was applied and whose answer was lost is not applied again.
    """
    items = [{part.operation: part.request} for part in parts]
    request = {"ClientRequestToken": uuid.uuid4().hex, "TransactItems": items}

    def send() -> None:
        try:
            connection.dispatch("TransactWriteItems", request)
        except VerboseClientError as error:
            raise _cancelled(error) or error from error

    patiently(send)


def _update(row: Subject, actions: Actions, condition: Where) -> dict[str, Any]:
    request = worded(("UpdateExpression", list(actions)), ("ConditionExpression", _given(condition)))
    return request | _addressed(row) | _SHOWING


def _conditional(condition: Where) -> dict[str, Any]:
    return worded(("ConditionExpression", _given(condition))) | _SHOWING


_SHOWING = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
"""What a refusal brings along: the item as it stands."""


def _addressed(row: Subject) -> dict[str, Any]:
    model = _model(row)
    key = row.key() if isinstance(row, Item) else _key(model, [getattr(row, name) for name in key_names(model)])
    return {"TableName": model.Meta.table_name, "Key": key}


def _model(row: Subject) -> type[Model]:
    return row.model if isinstance(row, Item) else type(row)


def _key(model: type[Model], values: Sequence[str]) -> dict[str, Any]:
    return Item(model, dict(zip(key_names(model), values, strict=True))).key()


def _cancelled(error: VerboseClientError) -> Cancelled | None:
    """What the cancellation says of our conditions; None where it is about something else (a conflict, a limit)."""
    rows: dict[int, Row | None] = {}
    for index, reason in enumerate(error.cancellation_reasons):
        if reason is not None and reason.code == "ConditionalCheckFailed":
            rows[index] = decode(reason.raw_item) if reason.raw_item else None
    return Cancelled(rows) if rows else None


def connect() -> None:
    """Build the client now, which takes a tenth of a second, and not at the first call. Needs AWS's region."""
    connection.client  # noqa: B018  # built when it is asked for


def reachable() -> None:
    """Raise Unavailable unless every table answers to a read."""
    for table, meta in connection._tables.items():  # noqa: SLF001  # what `register` put there
        key = {name: {"S": "~"} for name in (meta.hash_keyname, meta.range_keyname) if name}
        try:
            patiently(lambda table=table, key=key: connection.dispatch("GetItem", {"TableName": table, "Key": key}))  # type: ignore[misc]
        except VerboseClientError as error:
            raise Unavailable(f"The table {table} does not answer: {code(error)}.") from error
