"""Reads, single writes and transactions.

Stores define their rows as PynamoDB models and create the items of transactions. This module sends them with one
client. A row is a plain dict of Python values under their names in the table (whole numbers are ints).
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pynamodb.exceptions import VerboseClientError
from pynamodb.expressions.operand import Path
from pynamodb.models import Model

from chalicelib.aws.tries import error_code
from chalicelib.core.errors import DevFlowError, TooLarge, Unavailable
from chalicelib.core.log import logger
from chalicelib.dynamodb.clauses import equals
from chalicelib.dynamodb.client import connection
from chalicelib.dynamodb.expressions import Clause, render
from chalicelib.dynamodb.marshalling import MAX_ITEM_BYTES, Item, Row, decode, item_size, key_names
from chalicelib.dynamodb.retries import send

Key = tuple[str, ...]
R = TypeVar("R", bound=type[Model])


class ConditionFailed(Exception):
    """The condition of a single write was false. `row` is the stored item, None if there is no item."""

    def __init__(self, row: Row | None) -> None:
        self.row = row
        super().__init__("the condition was false")


class TransactionCancelled(Exception):
    """A transaction wrote nothing, because conditions of its items were false.

    `rows` maps the index of each such item, in the order given to `transact_write`, to the stored row (None if there is
    no row).
    """

    def __init__(self, rows: dict[int, Row | None]) -> None:
        self.rows = rows
        super().__init__(f"these conditions were false: {sorted(rows)}")


class ItemTooLarge(TooLarge):
    """This is too much data to be stored in one piece. Send less."""


def register_table(model: R) -> R:
    """Register the keys and indexes of a table with the client. A decorator for the model that defines them."""
    table = model._get_connection().get_meta_table()  # noqa: SLF001  # PynamoDB stores it there
    if table.table_name not in connection._tables:  # noqa: SLF001  # already registered if a failed import is repeated
        connection.add_meta_table(table)
    return model


class TransactItem(NamedTuple):
    """One write of a transaction: DynamoDB's name of it (`Put`, `Update`, ...) and its parameters."""

    operation: str
    request: dict[str, Any]


def item(model: type[Model], **values: Any) -> Item:
    """An item, or only its key, with the names that the attributes have in the model."""
    return Item(model, values)


def transact_put(row: Item, condition: Clause | None = None) -> TransactItem:
    """Create or replace an item. Raises ItemTooLarge if DynamoDB would reject it because of its size."""
    table, stored = row.model.Meta.table_name, row.to_dynamodb()
    if item_size(stored) > MAX_ITEM_BYTES:
        raise ItemTooLarge
    return TransactItem("Put", _condition_request(condition) | {"TableName": table, "Item": stored})


def transact_update(row: Item, actions: Iterable[Clause], condition: Clause | None = None) -> TransactItem:
    """Update an item, or create it."""
    return TransactItem("Update", _update_request(row, actions, condition))


def transact_delete(row: Item, condition: Clause | None = None) -> TransactItem:
    """Delete an item."""
    return TransactItem("Delete", _key_request(row) | _condition_request(condition))


def transact_check(row: Item, condition: Clause) -> TransactItem:
    """Write nothing, but cancel the transaction if the condition is false."""
    return TransactItem("ConditionCheck", _key_request(row) | _condition_request(condition))


def get_item(model: type[Model], *key: str) -> Row | None:
    """The item with this key, read consistently. None if there is no item."""
    return _get_item(model.Meta.table_name, _to_key(model, key))


def _get_item(table: str, key: dict[str, Any]) -> Row | None:
    request = {"TableName": table, "Key": key, "ConsistentRead": True}
    response = send("GetItem", request, table)
    return decode(response["Item"]) if "Item" in response else None


def batch_get(model: type[Model], keys: Sequence[Key], *, consistent: bool = False) -> list[Row]:
    """The existing items of at most 100 keys, in no particular order.

    Keys that DynamoDB leaves unprocessed are requested again, until the deadline.
    """
    if not keys:
        return []
    table = model.Meta.table_name
    remaining: dict[str, Any] = {
        table: {
            "Keys": [_to_key(model, key) for key in keys],
            "ConsistentRead": consistent,
        }
    }
    rows: list[Row] = []
    while remaining:
        response = send("BatchGetItem", {"RequestItems": remaining}, table)
        rows += [decode(each) for each in response["Responses"].get(table, [])]
        remaining = response.get("UnprocessedKeys") or {}
    return rows


class Page(NamedTuple):
    """One page of a query: its rows, and the key from which the next page starts (None at the end)."""

    rows: list[Row]
    next_key: dict[str, Any] | None


def query(
    model: type[Model],
    hash_key: str | int,
    *,
    index: str | None = None,
    key_condition: Clause | None = None,
    filter_condition: Clause | None = None,
    limit: int | None,
    start: dict[str, Any] | None = None,
    forward: bool = True,
    consistent: bool = False,
) -> Page:
    """Rows of one partition in the order of their range keys. At most `limit` rows and 1 MB are examined.

    `key_condition` restricts the range key. `filter_condition` filters the rows after they were read. So a page may
    have fewer rows than `limit` and still have a `next_key`.
    """
    request = _query_request(model, hash_key, index, key_condition, filter_condition) | {
        "ScanIndexForward": forward,
        "ConsistentRead": consistent,
    }
    if limit is not None:
        request["Limit"] = limit
    if start is not None:
        request["ExclusiveStartKey"] = start
    response = send("Query", request, model.Meta.table_name)
    return Page([decode(each) for each in response["Items"]], response.get("LastEvaluatedKey"))


def count_items(model: type[Model], hash_key: str, *, index: str, maximum: int) -> int:
    """The number of rows in a partition of an index, at most `maximum`. No more rows than that are read.

    One request, or one for each megabyte of the index.
    """
    request = _query_request(model, hash_key, index) | {"Select": "COUNT"}
    counted = 0
    while True:
        request["Limit"] = maximum - counted
        response = send("Query", request, model.Meta.table_name)
        counted += int(response["Count"])
        if counted >= maximum or "LastEvaluatedKey" not in response:
            return counted
        request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


def _query_request(
    model: type[Model],
    hash_key: str | int,
    index: str | None,
    key_condition: Clause | None = None,
    filter_condition: Clause | None = None,
) -> dict[str, Any]:
    table = model.Meta.table_name
    keys = [equals(_hash_path(table, index), hash_key), *_as_list(key_condition)]
    request = render(("KeyConditionExpression", keys), ("FilterExpression", _as_list(filter_condition)))
    request["TableName"] = table
    if index is not None:
        request["IndexName"] = index
    return request


@cache
def _hash_path(table: str, index: str | None) -> Path:
    """The hash key of a table or of an index."""
    meta = connection.get_meta_table(table)
    return Path([meta.hash_keyname if index is None else meta.get_index_hash_keyname(index)])


def _as_list(condition: Clause | None) -> list[Clause]:
    return [] if condition is None else [condition]


def paginate(fetch: Callable[[dict[str, Any] | None], Page]) -> Iterator[Page]:
    """All pages of a query, in order. The next page is read when it is needed."""
    start: dict[str, Any] | None = None
    while True:
        page = fetch(start)
        yield page
        if page.next_key is None:
            return
        start = page.next_key


def update_item(row: Item, actions: Iterable[Clause], condition: Clause | None = None) -> Row:
    """Update one item and return the stored result. Raises ConditionFailed if the condition is false; ItemTooLarge."""
    request = _update_request(row, actions, condition) | {"ReturnValues": "ALL_NEW"}
    try:
        response = send("UpdateItem", request, request["TableName"])
    except VerboseClientError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise _to_too_large(str(error)) or error from error
        stored = (getattr(error.__cause__, "response", None) or {}).get("Item")
        raise ConditionFailed(decode(stored) if stored else _get_item(request["TableName"], request["Key"])) from error
    return decode(response["Attributes"])


def transact_write(*items: TransactItem) -> None:
    """Write all items or none, in one transaction. Raises TransactionCancelled if conditions are false.

    Raises ItemTooLarge, or DevFlowError with the reason in the log, if DynamoDB can never accept the items.

    The transaction has a token (ClientRequestToken), so a retry after a lost response does not apply it twice.
    """
    request = {
        "ClientRequestToken": uuid.uuid4().hex,
        "TransactItems": [{each.operation: each.request} for each in items],
    }

    try:
        send("TransactWriteItems", request, items[0].request["TableName"])
    except VerboseClientError as error:
        raise _to_permanent(error) or _to_cancelled(error) or error from error


def _update_request(row: Item, actions: Iterable[Clause], condition: Clause | None) -> dict[str, Any]:
    request = render(("UpdateExpression", list(actions)), ("ConditionExpression", _as_list(condition)))
    return request | _key_request(row) | _RETURN_ITEM_ON_FAILURE


def _condition_request(condition: Clause | None) -> dict[str, Any]:
    return render(("ConditionExpression", _as_list(condition))) | _RETURN_ITEM_ON_FAILURE


_RETURN_ITEM_ON_FAILURE = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
"""Ask DynamoDB to return the stored item if a condition is false."""


def _key_request(row: Item) -> dict[str, Any]:
    return {"TableName": row.model.Meta.table_name, "Key": row.key()}


def _to_key(model: type[Model], values: Sequence[str]) -> dict[str, Any]:
    return Item(model, dict(zip(key_names(model), values, strict=True))).key()


def _to_permanent(error: VerboseClientError) -> DevFlowError | None:
    """The error if DynamoDB rejects the transaction because of an item, however often it is sent. None otherwise."""
    codes = (_INVALID_ITEM, "ItemCollectionSizeLimitExceeded")
    reasons = [reason for reason in error.cancellation_reasons if reason is not None and reason.code in codes]
    if not reasons:
        return _to_too_large(str(error))
    messages = [f"{reason.code}: {reason.message}" for reason in reasons]
    too_large = _to_too_large(" ".join(messages))
    if too_large is None:
        logger.error("DynamoDB rejected a transaction", extra={"reasons": messages})
    return too_large or DevFlowError()


_INVALID_ITEM = "ValidationError"


def _to_too_large(message: str) -> ItemTooLarge | None:
    """DynamoDB has no code of its own for this error: "Item size to update has exceeded the maximum allowed size"."""
    return ItemTooLarge() if "exceeded the maximum allowed size" in message else None


def _to_cancelled(error: VerboseClientError) -> TransactionCancelled | None:
    """The false conditions of a cancelled transaction. None if it has another cause (a conflict, a limit)."""
    rows: dict[int, Row | None] = {}
    for index, reason in enumerate(error.cancellation_reasons):
        if reason is not None and reason.code == "ConditionalCheckFailed":
            rows[index] = decode(reason.raw_item) if reason.raw_item else None
    return TransactionCancelled(rows) if rows else None


def connect() -> None:
    """Create the client before the first request, because this takes a tenth of a second. Needs an AWS region."""
    connection.client  # noqa: B018  # the property creates it


def check_tables() -> None:
    """Raise Unavailable unless every registered table can be read."""
    for table, meta in connection._tables.items():  # noqa: SLF001  # `register_table` added them
        key = {name: {"S": "~"} for name in (meta.hash_keyname, meta.range_keyname) if name}
        try:
            send("GetItem", {"TableName": table, "Key": key}, table, probe=True)
        except VerboseClientError as error:
            raise Unavailable(f"The table {table} cannot be read ({error_code(error)}). Retry the request.") from error
