"""chalicelib/http/pagination.py: signed cursors, and totals that are exact up to 1,000."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from chalicelib.core.errors import Invalid
from chalicelib.dynamodb import Page, Row
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT, Cursors, ListQuery, ListResponse, list_page

CURSORS = Cursors(b"a key of 32 bytes, or a few more")
SCOPE = "things|user-1|{}"


class ColouredQuery(ListQuery):
    colour: str | None = None


class Things:
    """Rows with numbers from 0, read as from an index: `limit` rows are examined per request, and filtered then."""

    def __init__(self, count: int, every: int = 1, fitting: int = 1_000) -> None:
        self.count, self.every, self.fitting = count, every, fitting
        self.requests: list[int] = []

    def find(self, limit: int, start: dict[str, Any] | None) -> Page:
        self.requests.append(limit)
        first = 0 if start is None else int(start["n"]) + 1
        last = min(first + limit, self.count)
        rows: list[Row] = [{"n": number} for number in range(first, last) if number % self.every == 0]
        return Page(rows, {"n": last - 1} if last < self.count else None)

    def page(self, query: ListQuery | None = None, scope: str = "things|user-1", **query_params: Any) -> dict[str, Any]:
        found = list_page(
            ListResponse,
            query or ListQuery(**query_params),
            scope,
            CURSORS,
            self.find,
            lambda row: {"n": row["n"]},
            self.load,
            lambda data: len(data) <= self.fitting,
        )
        return found.model_dump(by_alias=True)

    @staticmethod
    def load(rows: Sequence[Row]) -> list[Any]:
        return [row["n"] for row in rows]


def test_decode_reverses_encode() -> None:
    cursor = CURSORS.encode(SCOPE, {"pk": {"S": "ü"}, "at": {"N": "1"}}, 12, 40)
    assert CURSORS.decode(SCOPE, cursor) == ({"pk": {"S": "ü"}, "at": {"N": "1"}}, 12, 40)


def test_cursor_needs_no_escaping_in_query_string() -> None:
    cursor = CURSORS.encode(SCOPE, {"pk": {"S": "~" * 200}}, 12, 40)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("scope", ["things|user-2|{}", 'things|user-1|{"status": "active"}', "tasks|user-1|{}"])
def test_cursor_of_another_user_filter_or_list_is_rejected(scope: str) -> None:
    with pytest.raises(Invalid):
        CURSORS.decode(scope, CURSORS.encode(SCOPE, {}, 1, 1))


@pytest.mark.parametrize("cursor", ["", "x", "garbage", "AAAA", "\xff", "🙂", "=" * 40, "A" * 4_096, "e30", "null"])
def test_invalid_cursor_is_rejected(cursor: str) -> None:
    with pytest.raises(Invalid):
        CURSORS.decode(SCOPE, cursor)


def test_cursor_with_a_changed_bit_is_rejected() -> None:
    cursor = CURSORS.encode(SCOPE, {"pk": {"S": "x"}}, 1, 1)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for index in range(len(raw)):
        changed = raw.copy()
        changed[index] ^= 1
        with pytest.raises(Invalid):
            CURSORS.decode(SCOPE, base64.urlsafe_b64encode(changed).decode().rstrip("="))


def test_cursor_signed_with_another_key_is_rejected() -> None:
    with pytest.raises(Invalid):
        Cursors(b"another key").decode(SCOPE, CURSORS.encode(SCOPE, {}, 1, 1))


def test_cursor_is_valid_after_key_rotation() -> None:
    rotated = Cursors(b"a new key", b"a key of 32 bytes, or a few more")
    assert rotated.decode(SCOPE, CURSORS.encode(SCOPE, {"n": 1}, 2, 3)) == ({"n": 1}, 2, 3)
    with pytest.raises(Invalid):
        CURSORS.decode(SCOPE, rotated.encode(SCOPE, {"n": 1}, 2, 3))


def test_empty_list_has_no_next_page() -> None:
    assert Things(0).page() == {
        "data": [],
        "total": 0,
        "limit": 20,
        "offset": 0,
        "hasMore": False,
        "nextCursor": None,
    }


def test_pages_by_offset_have_every_element_once() -> None:
    things = Things(7)
    pages = [things.page(limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [page["data"] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [page["hasMore"] for page in pages] == [True, True, False]
    assert {page["total"] for page in pages} == {7}


def test_pages_by_cursor_have_every_element_once_and_read_only_their_rows() -> None:
    things = Things(7)
    pages = [things.page(limit=3)]
    things.requests.clear()
    while pages[-1]["nextCursor"]:
        pages.append(things.page(limit=3, cursor=pages[-1]["nextCursor"]))
    assert [page["data"] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [page["offset"] for page in pages] == [0, 3, 6]
    assert {page["total"] for page in pages} == {7}
    assert things.requests == [4, 4]


def test_cursor_of_offset_page_continues_after_it() -> None:
    things = Things(30)
    page = things.page(limit=5, offset=10)
    assert things.page(limit=5, cursor=page["nextCursor"])["data"] == [15, 16, 17, 18, 19]


@pytest.mark.parametrize(("fitting", "first"), [(7, 7), (6, 3), (3, 3), (2, 1), (1, 1), (0, 1)])
def test_page_that_does_not_fit_into_a_response_is_shortened(fitting: int, first: int) -> None:
    things = Things(7, fitting=fitting)
    page = things.page(limit=7)
    assert page["data"] == list(range(first))
    assert (page["total"], page["hasMore"]) == (7, first < 7)
    found = page["data"]
    while page["hasMore"]:
        page = things.page(limit=7, cursor=page["nextCursor"])
        assert (page["data"], page["offset"]) == (
            list(range(page["offset"], page["offset"] + len(page["data"]))),
            len(found),
        )
        found += page["data"]
    assert found == list(range(7))


def test_page_that_ends_with_last_row_has_no_next_page() -> None:
    assert Things(6).page(limit=3, offset=3)["nextCursor"] is None
    things = Things(6)
    assert things.page(limit=3, cursor=things.page(limit=3)["nextCursor"])["hasMore"] is False


def test_offset_after_the_end_is_an_empty_page() -> None:
    page = Things(3).page(offset=10)
    assert (page["data"], page["total"], page["hasMore"]) == ([], 3, False)


@pytest.mark.parametrize(("count", "total", "capped"), [(999, 999, None), (1_000, 1_000, None), (1_001, 1_000, True)])
def test_total_is_exact_up_to_1000_and_capped_above(count: int, total: int, capped: bool | None) -> None:  # noqa: FBT001
    things = Things(count)
    page = things.page()
    assert (page["total"], page.get("totalCapped")) == (total, capped)
    next_page = things.page(cursor=page["nextCursor"])
    assert (next_page["total"], next_page.get("totalCapped")) == (total, capped)


def test_largest_offset_returns_a_full_page() -> None:
    page = Things(5_000).page(offset=1_000, limit=100)
    assert page["data"] == list(range(1_000, 1_100))
    assert page["hasMore"]


def test_long_list_is_not_read_completely() -> None:
    things = Things(1_000_000)
    things.page()
    assert sum(things.requests) <= 2 * EXACT_TOTAL_LIMIT


def test_rare_matches_need_few_reads_per_page_and_none_is_lost() -> None:
    things = Things(40, every=20)
    pages = [things.page(limit=2)]
    first_total = pages[0]["total"]
    assert pages[0]["data"] == [0, 20]
    assert first_total == 2
    rare = Things(100_000, every=30_000)
    pages = [rare.page(limit=2)]
    while pages[-1]["nextCursor"] and len(pages) < 10_000:
        rare.requests.clear()
        pages.append(rare.page(limit=100, cursor=pages[-1]["nextCursor"]))
        assert len(rare.requests) <= 4
    assert [number for page in pages for number in page["data"]] == [0, 30_000, 60_000, 90_000]
    assert pages[-1]["hasMore"] is False


def test_cursor_is_bound_to_filters() -> None:
    things = Things(50)
    cursor = things.page(ColouredQuery(colour="red"))["nextCursor"]
    assert things.page(ColouredQuery(colour="red", cursor=cursor))["data"][0] == 20
    for other in (ColouredQuery(colour="blue", cursor=cursor), ColouredQuery(cursor=cursor)):
        with pytest.raises(Invalid):
            things.page(other)


def test_cursor_is_not_bound_to_limit() -> None:
    things = Things(50)
    cursor = things.page(limit=5)["nextCursor"]
    assert things.page(limit=7, cursor=cursor)["data"] == [5, 6, 7, 8, 9, 10, 11]
