"""chalicelib/tasks/merging.py: a list over several partitions loses and repeats no row, and is ordered by time."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.dynamodb import Page, Row
from chalicelib.tasks import merging
from chalicelib.tasks.merging import BEGINNING, Position

HASH, RANGE = "ownerStatus", "H"
KEYS = ["o#queued", "o#queued#1", "o#queued#2", "o#queued#3"]

Stored = tuple[int, str, bool]
"""A row of an index: its time, its key in the table, and whether it matches the filter."""


class Index:
    """An index of several partitions. Rows of the same time have an arbitrary order, but always the same one."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Stored]] = {key: [] for key in KEYS}

    def put(self, partition: int, at: int, *, matches: bool = True) -> None:
        number = sum(map(len, self.rows.values()))
        self.rows[KEYS[partition]].append((at, f"o#task-{number * 7_919 % 1_000:03d}", matches))

    def query(self, hash_key: str, limit: int, start: dict[str, Any] | None, not_later: int | None) -> Page:
        """The next rows of a partition, newest first. `limit` rows are examined, as in DynamoDB."""
        rows = sorted(self.rows[hash_key], reverse=True)
        if not_later is not None:
            rows = [row for row in rows if row[0] <= not_later]
        if start is not None:
            assert start[HASH] == {"S": hash_key}
            rows = [row for row in rows if row[:2] < (int(start["createdAt"]["N"]), start["pk"]["S"])]
        examined = rows[:limit]
        found: list[Row] = [{"pk": pk, HASH: hash_key, "createdAt": at} for at, pk, matches in examined if matches]
        at, pk = examined[-1][:2] if examined else (0, "")
        return Page(found, merging._key(pk, RANGE, HASH, hash_key, at) if len(rows) > limit else None)

    def find(self, keys: list[str], limit: int, start: dict[str, Any] | None) -> Page:
        position = merging.to_position(start, HASH)
        pages = {}
        for key in keys:
            after = merging.key_in(position, key, HASH, RANGE)
            pages[key] = self.query(key, limit, after, position.at if after is None else None)
        return merging.merge(pages, position, HASH, RANGE)

    def pages(self, keys: list[str], limit: int, examined: int) -> Iterator[list[Row]]:
        """The pages of a list, each read with the cursor of the one before."""
        start: dict[str, Any] | None = None
        while True:
            found = self.find(keys, max(limit + 1, examined), start)
            rows = found.rows[:limit]
            yield rows
            if len(found.rows) > limit:
                start = to_key(rows[-1])
            elif found.next_key is None:
                return
            else:
                assert found.next_key != start, "a page makes progress"
                start = found.next_key


def to_key(row: Row) -> dict[str, Any]:
    key = merging._key(row["pk"], RANGE, HASH, row[HASH], row["createdAt"])
    return merging.with_others(key, row["others"])


stored_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.booleans()), max_size=30)


@given(stored_rows, st.integers(1, 5), st.integers(0, 8))
def test_every_matching_row_is_listed_once_with_the_newest_first(
    rows: list[tuple[int, int, bool]], limit: int, examined: int
) -> None:
    index = Index()
    for partition, at, matches in rows:
        index.put(partition, at, matches=matches)
    listed = [row for page in index.pages(KEYS, limit, examined) for row in page]
    expected = sorted(pk for stored in index.rows.values() for _, pk, matches in stored if matches)
    assert sorted(row["pk"] for row in listed) == expected
    times = [row["createdAt"] for row in listed]
    assert times == sorted(times, reverse=True)


@given(stored_rows, st.integers(1, 5), st.integers(1, 4))
def test_rows_that_arrive_later_do_not_disturb_the_list(
    rows: list[tuple[int, int, bool]], limit: int, new_in_each_page: int
) -> None:
    index = Index()
    for partition, at, _ in rows:
        index.put(partition, at)
    expected = sorted(pk for stored in index.rows.values() for _, pk, _ in stored)
    listed = []
    for number, page in enumerate(index.pages(KEYS, limit, 0)):
        listed += page
        for each in range(new_in_each_page):
            index.put((number + each) % 4, 7 + number)
    assert sorted(row["pk"] for row in listed if row["createdAt"] < 7) == expected
    assert len({row["pk"] for row in listed}) == len(listed)
    assert [row for row in listed if row["createdAt"] >= 7] == []


@given(stored_rows, st.integers(1, 4))
def test_cursor_of_one_partition_continues_in_several(rows: list[tuple[int, int, bool]], limit: int) -> None:
    """The cursor of an earlier version. The number of partitions was raised, and later rows are in all of them."""
    index = Index()
    for _, at, _ in rows:
        index.put(0, at)
    first = index.query(KEYS[0], limit, None, None)
    if first.next_key is None:
        return
    for partition, at, _ in rows:
        index.put(partition, at + 6)
    rest = index.find(KEYS, 100, first.next_key)
    listed = [row["pk"] for row in first.rows + rest.rows]
    assert sorted(listed) == sorted(pk for stored in index.rows.values() for at, pk, _ in stored if at <= 6)
    assert rest.next_key is None


def test_position_keeps_the_rows_of_one_time_only() -> None:
    position = BEGINNING
    for partition, pk, at in ((0, "a", 9), (1, "b", 9), (0, "c", 9), (2, "d", 8)):
        position = position.after({"pk": pk, HASH: KEYS[partition], "createdAt": at}, HASH)
        assert position.last[KEYS[partition]] == pk
        if at == 9:
            assert position.others(KEYS[partition]) == {
                key: pk for key, pk in position.last.items() if key != KEYS[partition]
            }
    assert position == Position(8, {KEYS[2]: "d"})


def test_cursor_without_rows_of_the_same_time_is_that_of_one_partition() -> None:
    index = Index()
    for partition, at in ((0, 5), (1, 4), (2, 4)):
        index.put(partition, at)
    rows = index.find(KEYS, 10, None).rows
    assert [to_key(row).get("others") for row in rows] == [None, None, {KEYS[1]: rows[1]["pk"]}]
    assert merging.is_in(None, KEYS[0], HASH)
    assert merging.is_in(to_key(rows[0]), KEYS[0], HASH)
    assert not merging.is_in(to_key(rows[1]), KEYS[0], HASH)
    assert not merging.is_in(to_key(rows[2]), KEYS[2], HASH)
