"""Merges pages of several partition keys of an index into one page, newest first. No I/O.

A list with several partitions continues at a position: the time of the last row of the previous page, and the last row
of each partition that has rows of exactly this time on it. A partition without such a row continues with its rows of
this time or earlier. So no row is lost or repeated, however many rows were created in the same millisecond.

In a cursor, a position is the key of its last row, as in a list with one partition. If other partitions have rows of
the same time before it, the field `others` has them. So a cursor stays valid when the number of partitions changes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib.dynamodb import Page, Row

ListKey = dict[str, Any]
"""A key from which a list continues, in DynamoDB's JSON, with `others`."""


class Position(NamedTuple):
    """Where a list continues.

    `at` is the time of the last row, None at the beginning. `last` has the last row of this time by partition key, as
    its key in the table.
    """

    at: int | None
    last: dict[str, str]

    def after(self, row: Row, hash_name: str) -> "Position":
        earlier = self.last if row["createdAt"] == self.at else {}
        return Position(row["createdAt"], earlier | {row[hash_name]: row["pk"]})

    def others(self, hash_key: str) -> dict[str, str]:
        """The rows in `last` of other partitions."""
        return {key: pk for key, pk in self.last.items() if key != hash_key}


BEGINNING = Position(None, {})


def to_position(start: ListKey | None, hash_name: str) -> Position:
    """The position that a cursor stores. `hash_name` is the partition key's attribute."""
    if start is None:
        return BEGINNING
    others: dict[str, str] = start.get("others", {})
    return Position(_time(start), others | {start[hash_name]["S"]: start["pk"]["S"]})


def key_in(position: Position, hash_key: str, hash_name: str, range_key: str) -> ListKey | None:
    """The key after which a partition continues. None if the page before has no row of this partition and time."""
    pk = position.last.get(hash_key)
    return None if pk is None else _key(pk, range_key, hash_name, hash_key, position.at)


def is_in(start: ListKey | None, hash_key: str, hash_name: str) -> bool:
    """Whether a list of this partition alone can continue from the key."""
    return start is None or (start[hash_name]["S"] == hash_key and "others" not in start)


def merge(pages: Mapping[str, Page], position: Position, hash_name: str, range_key: str) -> Page:
    """One page of the rows of several partitions. `pages` has the next page of each, by partition key.

    A partition that has more rows than its page ends the merged page: rows that are older than the last one that was
    examined there must wait, because newer ones may follow. Each row gets the rows in `others` of its position.
    """
    ends = [page.next_key for page in pages.values() if page.next_key is not None]
    oldest = max(map(_time, ends), default=None)
    rows = [row for page in pages.values() for row in page.rows if oldest is None or row["createdAt"] >= oldest]
    rows.sort(key=lambda row: -row["createdAt"])  # rows of the same time stay in the order of their partition
    for row in rows:
        position = position.after(row, hash_name)
        row["others"] = position.others(row[hash_name])
    if oldest is None:
        return Page(rows, None)
    last = position.last if position.at == oldest else {}
    at_end = {end[hash_name]["S"]: end["pk"]["S"] for end in ends if _time(end) == oldest}
    hash_key, pk = next(iter(at_end.items()))
    others = Position(oldest, last | at_end).others(hash_key)
    return Page(rows, with_others(_key(pk, range_key, hash_name, hash_key, oldest), others))


def with_others(key: ListKey, others: Mapping[str, str]) -> ListKey:
    """A key with the rows of other partitions, if there are any."""
    return key | {"others": others} if others else key


def _key(pk: str, range_key: str, hash_name: str, hash_key: str, at: int | None) -> ListKey:
    return {"pk": {"S": pk}, "sk": {"S": range_key}, hash_name: {"S": hash_key}, "createdAt": {"N": str(at)}}


def _time(key: ListKey) -> int:
    return int(key["createdAt"]["N"])
