"""The tables of infra/template.yaml, and the units that a write or a read consumes on a table and on its indexes.

The sources of the rules are DynamoDB's developer guide ("DynamoDB read and write operations", "Item sizes and formats",
"Using global secondary indexes") and, for transactions, measurements of the service that
https://github.com/nubo-db/dynoxide/pull/188 describes: a transaction doubles the units of the table only. Once it is
complete, "its changes start propagating" to the indexes (developer guide, "Amazon DynamoDB Transactions: How it
works").
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from chalicelib.core.settings import KB
from tests.support import template
from tests.support.environment import STAGE

WRITE_UNIT, READ_UNIT = KB, 4 * KB
"""Bytes of an item that one unit writes, or reads consistently."""

TRANSACTION = 2
"""The price of a write to a table in a transaction, relative to a single write."""

MAX_KEY_WRITES, MAX_KEY_READS = 1_000, 3_000
"""The units a second of one partition
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html)."""

Image = Mapping[str, Any]
"""An item in DynamoDB's JSON."""


class Index(NamedTuple):
    """A global secondary index. `projected` contains the names of the attributes of its entries, None if all."""

    name: str
    hash_name: str
    range_name: str
    projected: frozenset[str] | None

    def entry(self, item: Image | None) -> dict[str, Any] | None:
        """The entry of an item. None if there is no item, or if it lacks one of the index's keys."""
        if item is None or self.hash_name not in item or self.range_name not in item:
            return None
        return {name: value for name, value in item.items() if self.projected is None or name in self.projected}


class TableKeys(NamedTuple):
    """A table, by its short name. `range_name` is None if its items have no sort key."""

    name: str
    hash_name: str
    range_name: str | None
    indexes: tuple[Index, ...]

    def key_of(self, values: Image) -> tuple[str, ...]:
        names = (self.hash_name,) if self.range_name is None else (self.hash_name, self.range_name)
        return tuple(plain(values[name]) for name in names)

    def find_index(self, name: str) -> Index:
        return next(index for index in self.indexes if index.name == name)


@dataclass(frozen=True)
class Effect:
    """The units that one request consumes on one partition key of a table, or of an index."""

    table: str
    index: str | None
    hash_key: str
    """The value of the partition key. `plain` turns it into text."""
    item: tuple[str, ...] | None = None
    """The primary key of the item, for effects on the table itself."""
    write: float = 0
    read: float = 0
    transactions: int = 0
    """1 if a transaction contains this item."""


def plain(value: Mapping[str, str]) -> str:
    """The text of a key, given in DynamoDB's JSON."""
    ((_, text),) = value.items()
    return str(text)


@cache
def load_tables() -> dict[str, TableKeys]:
    """The tables by their full names."""
    return {request["TableName"]: _to_table(request) for request in template.create_table_requests(STAGE)}


def _to_table(request: dict[str, Any]) -> TableKeys:
    hash_name, range_name = _keys(request)
    own = {hash_name} if range_name is None else {hash_name, range_name}
    indexes = []
    for each in request.get("GlobalSecondaryIndexes", ()):
        index_hash, index_range = _keys(each)
        assert index_range is not None
        projection = each["Projection"]
        projected = own | {index_hash, index_range} | set(projection.get("NonKeyAttributes", ()))
        is_whole = projection["ProjectionType"] == "ALL"
        indexes.append(Index(each["IndexName"], index_hash, index_range, None if is_whole else frozenset(projected)))
    return TableKeys(request["TableName"].removeprefix(f"devflow-{STAGE}-"), hash_name, range_name, tuple(indexes))


def _keys(definition: dict[str, Any]) -> tuple[str, str | None]:
    by_type = {each["KeyType"]: each["AttributeName"] for each in definition["KeySchema"]}
    return by_type["HASH"], by_type.get("RANGE")


def item_size(item: Image) -> int:
    """Bytes of an item: the lengths of its names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(tagged: Mapping[str, Any]) -> int:
    ((tag, value),) = tagged.items()
    match tag:
        case "S":
            return len(value.encode())
        case "N":  # one byte for two significant digits, and one more
            return (len(value.lstrip("-").strip("0.")) + 1) // 2 + 1
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(len(each.encode()) for each in value)
        case "L":
            return 3 + sum(1 + _value_size(each) for each in value)
        case "M":
            return 3 + sum(len(name.encode()) + 1 + _value_size(each) for name, each in value.items())
    raise ValueError(f"the size of a value of type {tag} is not defined here")


def write_units(size: int) -> int:
    return max(1, math.ceil(size / WRITE_UNIT))


def write_effects(
    table: TableKeys, old: Image | None, new: Image | None, key: Image, *, transaction: bool
) -> list[Effect]:
    """What a write does that turns the item `old` into `new`. None means that there is no item."""
    size = max((item_size(image) for image in (old, new) if image is not None), default=0)
    own = Effect(
        table.name,
        None,
        plain(key[table.hash_name]),
        table.key_of(key),
        write=write_units(size) * (TRANSACTION if transaction else 1),
        transactions=int(transaction),
    )
    return [own, *(effect for index in table.indexes for effect in _index_effects(table, index, old, new))]


def _index_effects(table: TableKeys, index: Index, old: Image | None, new: Image | None) -> Iterator[Effect]:
    """What the same write does to one index. A change of a key attribute deletes one entry and puts another."""
    before, after = index.entry(old), index.entry(new)
    if before == after:
        return
    if before is not None and after is not None and _same_keys(index, before, after):
        size = max(item_size(before), item_size(after))
        yield Effect(table.name, index.name, plain(after[index.hash_name]), write=write_units(size))
        return
    for entry in (before, after):
        if entry is not None:
            yield Effect(table.name, index.name, plain(entry[index.hash_name]), write=write_units(item_size(entry)))


def _same_keys(index: Index, one: Image, other: Image) -> bool:
    return all(one[name] == other[name] for name in (index.hash_name, index.range_name))


def read_effect(
    table: TableKeys, index: str | None, hash_key: str, found: Iterable[Image], *, consistent: bool
) -> Effect:
    """What one read does. The sizes of the items of a query are rounded up together."""
    size = sum(map(item_size, found))
    return Effect(table.name, index, hash_key, read=max(1, math.ceil(size / READ_UNIT)) * (1.0 if consistent else 0.5))
