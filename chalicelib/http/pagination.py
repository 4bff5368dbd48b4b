"""Lists: `limit` with `offset` or `cursor`, and the response format of all lists.

A list is read in two steps. The first reads the keys of at most 1,001 rows from a narrow index. This also gives the
total, which is exact up to 1,000. The second reads the rows of one page. A page with a cursor starts where the previous
page ended. The cursor also contains the total, so the next page reads only its own rows.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import Field

from chalicelib.core.errors import Invalid
from chalicelib.core.models import InputModel, OutputModel
from chalicelib.core.text import MAX_RESPONSE_BYTES
from chalicelib.dynamodb import Page, Row

EXACT_TOTAL_LIMIT = 1_000
"""The largest total that is exact."""

MIN_ROWS_EXAMINED = 200
"""The minimum number of rows that a page examines if the index cannot apply all filters."""


class ListQuery(InputModel):
    """`?limit=` 1 to 100 with `cursor`, or with `offset` 0 to 1,000."""

    limit: int = Field(default=20, ge=1, le=100)
    """The maximum number of elements of a page."""
    offset: int = Field(default=0, ge=0, le=1_000)
    """The number of elements to skip. Ignored with a cursor."""
    cursor: str | None = Field(default=None, max_length=4_096)
    """The `nextCursor` of the previous page."""

    def filters(self) -> dict[str, str]:
        """The filters of the list: every field that a subclass adds and that has a value."""
        own = set(ListQuery.model_fields)
        return {name: str(value) for name, value in self if name not in own and value is not None}


L = TypeVar("L", bound="ListResponse")


class ListResponse(OutputModel):
    """The response of every list. A subclass declares the type of `data`.

    A generic model would take twice as long to build.
    """

    data: list[Any]
    """The elements of this page."""
    total: int
    """The number of elements, exact up to 1000."""
    limit: int
    """The limit of this request."""
    offset: int
    """How many elements precede `data`."""
    has_more: bool
    """Whether there is a next page."""
    next_cursor: str | None
    """The cursor of the next page; `null` on the last one."""
    total_capped: bool = Field(default=False, exclude_if=lambda capped: not capped)
    """Present and `true` if `total` is 1000 or more."""


class Cursors:
    """Creates and reads cursors. A cursor is opaque, signed, and valid only for its owner, list and filters."""

    def __init__(self, key: bytes, *older_keys: bytes) -> None:
        """New cursors are signed with `key`. Cursors that were signed with an older key are still accepted."""
        self._key, *self._older_keys = [
            hashlib.sha256(b"devflow cursor" + each).digest() for each in (key, *older_keys)
        ]

    def encode(self, scope: str, start: Mapping[str, Any], total: int, offset: int) -> str:
        """A cursor for the page that starts after the key `start`."""
        text = json.dumps([start, total, offset], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_sign(self._key, scope, text) + text).decode().rstrip("=")

    def decode(self, scope: str, cursor: str) -> tuple[dict[str, Any], int, int]:
        """The key after which the page starts, the total and the offset. Raises Invalid unless `encode` created it."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        signature, text = raw[:16], raw[16:]
        keys = (self._key, *self._older_keys)
        if not any(hmac.compare_digest(signature, _sign(key, scope, text)) for key in keys):
            raise Invalid("The cursor does not belong to this list with these filters. Start without a cursor.")
        start, total, offset = json.loads(text)
        return start, total, offset


def _sign(key: bytes, scope: str, text: bytes) -> bytes:
    return hmac.digest(key, scope.encode() + b"\0" + text, "sha256")[:16]


def fits_response(elements: Sequence[OutputModel]) -> bool:
    """Whether a response can have these elements. Lambda escapes their JSON again, and returns at most 6 MB."""
    return sum(len(json.dumps(each.model_dump_json(by_alias=True))) for each in elements) <= MAX_RESPONSE_BYTES


def list_page(
    kind: type[L],
    query: ListQuery,
    scope: str,
    cursors: Cursors,
    find: Callable[[int, dict[str, Any] | None], Page],
    key_of: Callable[[Row], dict[str, Any]],
    load: Callable[[Sequence[Row]], list[Any]],
    fits: Callable[[list[Any]], bool] = lambda _: True,
) -> L:
    """One page of a list: `{data, total, limit, offset, hasMore, nextCursor}`.

    `find(n, start)` examines the next n rows of the index and returns the keys of those that match. `key_of` returns
    the key from which the list continues after a row. `load` returns the elements of the response for some rows.
    `fits` returns whether a response can have these elements; otherwise the page is halved until it can.
    `scope` identifies the owner and the list. Raises Invalid for a cursor of another scope or with other filters.

    If few rows match, a page may be short or empty and still have a next page, because one request never reads a whole
    partition.
    """
    scope = f"{scope}|{json.dumps(query.filters(), sort_keys=True)}"
    if query.cursor is None:
        offset = skip = query.offset
        found = find(max(EXACT_TOTAL_LIMIT, offset + query.limit) + 1, None)
        count = len(found.rows) if found.next_key is None else EXACT_TOTAL_LIMIT + 1
    else:
        start, count, offset = cursors.decode(scope, query.cursor)
        skip = 0
        found = find(query.limit + 1, start)
    rows = found.rows[skip : skip + query.limit]
    has_unused_rows = len(found.rows) > skip + query.limit
    data = load(rows) if rows else []
    while len(rows) > 1 and not fits(data):
        rows, has_unused_rows = rows[: len(rows) // 2], True
        data = load(rows)
    next_start = key_of(rows[-1]) if has_unused_rows else found.next_key
    return kind.model_construct(
        data=data,
        total=min(count, EXACT_TOTAL_LIMIT),
        limit=query.limit,
        offset=offset,
        has_more=next_start is not None,
        next_cursor=next_start and cursors.encode(scope, next_start, count, offset + len(rows)),
        total_capped=count > EXACT_TOTAL_LIMIT,
    )
