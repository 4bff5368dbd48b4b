"""Rows and indexes in memory, and DynamoDB's operations on them.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.wire_dynamodb.expression_parser import (
    Names,
    StoredItem,
    Values,
    parse_condition,
    parse_key_condition,
    parse_update,
    plain,
)

Request = dict[str, Any]
Response = dict[str, Any]
PrimaryKey = tuple[str, ...]
"""The key of an item in its table: the values of its hash and range key."""

Entry = tuple[Any, PrimaryKey]
"""An entry of a partition, by which it is sorted: the value of the range key, and the key in the table."""


class RequestError(Exception):
    """An error of DynamoDB: its code, and further members of the response."""

    def __init__(self, code: str, **members: Any) -> None:
        self.code, self.members = code, members
        super().__init__(code)


@dataclass
class _Index:
    """The table itself, or one of its indexes."""

    hash_name: str
    range_name: str | None
    projection: frozenset[str] | None
    """The attributes of its rows. None: all."""
    partitions: dict[Any, list[Entry]] = field(default_factory=dict)

    def entry(self, item: StoredItem, key: PrimaryKey) -> tuple[Any, Entry] | None:
        """The partition of an item and its entry. None if the index does not contain the item."""
        if self.hash_name not in item or (self.range_name is not None and self.range_name not in item):
            return None
        sort_value = plain(item[self.range_name]) if self.range_name else 0
        return plain(item[self.hash_name]), (sort_value, key)

    def replace(self, key: PrimaryKey, before: StoredItem | None, after: StoredItem | None) -> None:
        old = None if before is None else self.entry(before, key)
        new = None if after is None else self.entry(after, key)
        if old == new:
            return
        if old is not None:
            entries = self.partitions[old[0]]
            del entries[bisect_left(entries, old[1])]
        if new is not None:
            insort(self.partitions.setdefault(new[0], []), new[1])

    def project(self, item: StoredItem) -> StoredItem:
        return item if self.projection is None else {name: item[name] for name in self.projection if name in item}


class Table:
    """A table with its indexes, as CreateTable describes it."""

    def __init__(self, request: Request) -> None:
        self.key_names = [each["AttributeName"] for each in request["KeySchema"]]
        self.items: dict[PrimaryKey, StoredItem] = {}
        self.indexes: dict[str | None, _Index] = {None: _Index(*_schema(request), projection=None)}
        for index in request.get("GlobalSecondaryIndexes", []):
            names = {*self.key_names, *(each["AttributeName"] for each in index["KeySchema"])}
            names |= set(index["Projection"].get("NonKeyAttributes", []))
            self.indexes[index["IndexName"]] = _Index(*_schema(index), projection=frozenset(names))

    def key_of(self, item: StoredItem) -> PrimaryKey:
        return tuple(item[name]["S"] for name in self.key_names)

    def store(self, key: PrimaryKey, after: StoredItem | None) -> None:
        before = self.items.get(key)
        for index in self.indexes.values():
            index.replace(key, before, after)
        if after is None:
            self.items.pop(key, None)
        else:
            self.items[key] = after


def _schema(description: Request) -> tuple[str, str | None]:
    names = [each["AttributeName"] for each in description["KeySchema"]]
    return names[0], names[1] if len(names) > 1 else None


class Database:
    """All tables, and the rows that a write in progress has locked."""

    def __init__(self, create_table_requests: Iterable[Request]) -> None:
        self.tables = {request["TableName"]: Table(request) for request in create_table_requests}
        self.locked: set[tuple[str, PrimaryKey]] = set()
        self.served: Counter[str] = Counter()

    def handle(self, operation: str, request: Request) -> tuple[Response, list[tuple[str, PrimaryKey]]]:
        """The response to a request, and the rows to lock until it is sent. Raises RequestError."""
        self.served[operation] += 1
        match operation:
            case "GetItem":
                item = self._table(request).items.get(self._key(request))
                return {} if item is None else {"Item": item}, []
            case "BatchGetItem":
                return self._batch_get(request), []
            case "Query":
                return self._query(request), []
            case "UpdateItem":
                row = request["TableName"], self._key(request)
                if row in self.locked:
                    raise RequestError("TransactionConflictException")
                after = self._written("Update", request)
                self._table(request).store(row[1], after)
                return {"Attributes": after}, [row]
            case "TransactWriteItems":
                return {}, self._transact(request["TransactItems"])
            case "BatchWriteItem":
                for table, writes in request["RequestItems"].items():
                    for write in writes:
                        item = write["PutRequest"]["Item"]
                        self.tables[table].store(self.tables[table].key_of(item), item)
                return {"UnprocessedItems": {}}, []
        raise RequestError("ValidationException", message=f"{operation} is not supported")

    def _table(self, request: Request) -> Table:
        return self.tables[request["TableName"]]

    def _key(self, request: Request) -> PrimaryKey:
        return self._table(request).key_of(request.get("Key") or request["Item"])

    def _batch_get(self, request: Request) -> Response:
        responses = {}
        for name, wanted in request["RequestItems"].items():
            table = self.tables[name]
            keys = [table.key_of(key) for key in wanted["Keys"]]
            responses[name] = [table.items[key] for key in keys if key in table.items]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _transact(self, items: list[Request]) -> list[tuple[str, PrimaryKey]]:
        """Write all items or none. Returns the rows that were written."""
        reasons: list[dict[str, Any]] = []
        writes: list[tuple[Table, PrimaryKey, StoredItem | None]] = []
        rows = []
        for each in items:
            ((kind, request),) = each.items()
            row = request["TableName"], self._key(request)
            rows.append(row)
            if row in self.locked:
                reasons.append({"Code": "TransactionConflict"})
                continue
            try:
                writes.append((self._table(request), row[1], self._written(kind, request)))
            except RequestError as error:
                reasons.append({"Code": "ConditionalCheckFailed", **error.members})
            else:
                reasons.append({"Code": "None"})
        if any(reason["Code"] != "None" for reason in reasons):
            raise RequestError("TransactionCanceledException", CancellationReasons=reasons)
        for table, key, after in writes:
            table.store(key, after)
        return rows

    def _written(self, kind: str, request: Request) -> StoredItem | None:
        """The item after a write. None: it is deleted. Raises RequestError if the condition is false."""
        before = self._table(request).items.get(self._key(request))
        names, values = _names(request), request.get("ExpressionAttributeValues", {})
        condition = request.get("ConditionExpression")
        if condition is not None and not parse_condition(condition, names)(before or {}, values):
            raise RequestError("ConditionalCheckFailedException", **({} if before is None else {"Item": before}))
        match kind:
            case "Put":
                item: StoredItem = request["Item"]
                return item
            case "Delete":
                return None
            case "ConditionCheck":
                return before
            case _:
                return parse_update(request["UpdateExpression"], names)(before or request["Key"], values)

    def _query(self, request: Request) -> Response:
        table = self._table(request)
        index = table.indexes[request.get("IndexName")]
        names, values = _names(request), request["ExpressionAttributeValues"]
        is_in_partition, *on_range_key = parse_key_condition(request["KeyConditionExpression"], names)
        matches = parse_condition(request["FilterExpression"], names) if "FilterExpression" in request else None
        limit = request.get("Limit", 1_000)
        rows, examined, last = [], 0, None
        for key in self._entries(table, index, request, is_in_partition, values):
            item = table.items[key]
            if not all(condition(item, values) for condition in on_range_key):
                continue
            examined += 1
            if matches is None or matches(item, values):
                rows.append(index.project(item))
            if examined == limit:  # also if it is the last row: DynamoDB does not look whether another one follows
                last = item
                break
        response: Response = {"Count": len(rows), "ScannedCount": examined}
        if request.get("Select") != "COUNT":
            response["Items"] = rows
        if last is not None:
            key_names = {*table.key_names, index.hash_name, *([index.range_name] if index.range_name else [])}
            response["LastEvaluatedKey"] = {name: last[name] for name in key_names}
        return response

    def _entries(
        self, table: Table, index: _Index, request: Request, is_in_partition: Any, values: Values
    ) -> Iterator[PrimaryKey]:
        """The keys of a partition, in the order of the query, after the key from which it continues."""
        partition = next(
            (
                plain(value)
                for value in values.values()
                if plain(value) in index.partitions and is_in_partition({index.hash_name: value}, values)
            ),
            None,
        )
        entries = index.partitions.get(partition, [])
        start = request.get("ExclusiveStartKey")
        if request.get("ScanIndexForward", True):
            first = 0 if start is None else bisect_right(entries, _entry_of(table, index, start))
            yield from [key for _, key in entries[first:]]
        else:
            last = len(entries) if start is None else bisect_left(entries, _entry_of(table, index, start))
            yield from [key for _, key in reversed(entries[:last])]

    def due(self, now: int) -> dict[str, int]:
        """The number of due rows by kind and shard, as `tasks 0`."""
        found: Counter[str] = Counter()
        for table, index, kind in (
            ("tasks", "due", "tasks"),
            ("agents", "live", "agents"),
            ("agents", "news", "events"),
            ("webhooks", "due", "deliveries"),
        ):
            (stored,) = [each for name, each in self.tables.items() if name.endswith(f"-{table}")]
            for shard, entries in stored.indexes[index].partitions.items():
                for _, key in entries[: bisect_right(entries, (now, ("\U0010ffff",)))]:
                    found[f"{'events' if key[-1].startswith('E#') else kind} {shard}"] += 1
        return dict(found)


def _entry_of(table: Table, index: _Index, start: StoredItem) -> Entry:
    found = index.entry(start, table.key_of(start))
    assert found is not None
    return found[1]


def _names(request: Request) -> Names:
    return tuple(request.get("ExpressionAttributeNames", {}).items())
