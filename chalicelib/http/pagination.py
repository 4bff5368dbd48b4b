"""Lists: `limit` with `offset` or `cursor`, and the one shape of every list's answer.

A list is read in two steps: the keys of at most 1,001 rows from a narrow index (which also gives the total, exact up
to 1,000), then the rows of the one page. A page reached by cursor starts where the last one ended and takes the total
along in the cursor, so going on costs the page alone.
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
from chalicelib.dynamodb import Page, Row

EXACT_TOTAL_LIMIT = 1_000
"""Totals are exact up to here."""

MIN_ROWS_EXAMINED = 200
"""How many rows a page examines at least where an index cannot do all of the filtering."""


class ListQuery(InputModel):
    """`?limit=` 1 to 100 with `cursor`, or with `offset` 0 to 1,000."""

    limit: int = Field(default=20, ge=1, le=100)
    """How many elements a page has at most."""
    offset: int = Field(default=0, ge=0, le=1_000)
    """How many elements to skip. Ignored with a cursor."""
    cursor: str | None = Field(default=None, max_length=4_096)
    """The `nextCursor` of the previous page."""

    def filters(self) -> dict[str, str]:
        """What narrows the list: every field that a subclass adds, where given."""
        own = set(ListQuery.model_fields)
        return {name: str(value) for name, value in self if name not in own and value is not None}


L = TypeVar("L", bound="ListResponse")


class ListResponse(OutputModel):
    """The answer of every list; each says what is in its `data`. (A generic shape would take twice as long to make.)"""

    data: list[Any]
    """The elements of this page."""
    total: int
    """The number of elements, exact up to 1000."""
    limit: int
    """The limit of this request."""
    offset: int
    """How many elements precede `data`."""
    has_more: bool
    """Whether there is another page."""
    next_cursor: str | None
    """The cursor of the next page; `null` on the last one."""
    total_capped: bool = Field(default=False, exclude_if=lambda capped: not capped)
    """Present and `true` if `total` is 1000 or more."""


class Cursors:
    """Makes and reads cursors: opaque, tamper-proof, and bound to their owner, list and filters."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        """Sealed with `key`; those that were sealed with an older one are still good."""
        self._key, *self._older = [hashlib.sha256(b"devflow cursor" + each).digest() for each in (key, *older)]

    def encode(self, scope: str, start: Mapping[str, Any], total: int, offset: int) -> str:
        text = json.dumps([start, total, offset], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_seal(self._key, scope, text) + text).decode().rstrip("=")

    def decode(self, scope: str, cursor: str) -> tuple[dict[str, Any], int, int]:
        """The key to start from, the total and the offset. Raises Invalid for anything but our own, for this scope."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        seal, text = raw[:16], raw[16:]
        if not any(hmac.compare_digest(seal, _seal(key, scope, text)) for key in (self._key, *self._older)):
            raise Invalid("This cursor is not one of this list with these filters; start again without it.")
        start, total, offset = json.loads(text)
        return start, total, offset


def _seal(key: bytes, scope: str, text: bytes) -> bytes:
    return hmac.digest(key, scope.encode() + b"\0" + text, "sha256")[:16]


def list_page(
    kind: type[L],
    query: ListQuery,
    scope: str,
    cursors: Cursors,
    find: Callable[[int, dict[str, Any] | None], Page],
    key_of: Callable[[Row], dict[str, Any]],
    load: Callable[[Sequence[Row]], list[Any]],
) -> L:
    """One page of a list, in the contract's shape: `{data, total, limit, offset, hasMore, nextCursor}`.

    `find(n, start)` examines the next n rows of the index and gives the keys of those that match; `key_of` says where
    to go on after one; `load` gives what is shown of some. `scope` names owner and list: a cursor of another scope, or
    with other filters, is refused. Where few of many rows match a page may be short, or empty, and still have a next:
    one request never reads a whole partition.
    """
    scope = f"{scope}|{json.dumps(query.filters(), sort_keys=True)}"
    if query.cursor is None:
        offset = skipped = query.offset
        found = find(max(EXACT_TOTAL_LIMIT, offset + query.limit) + 1, None)
        counted = len(found.rows) if found.next_key is None else EXACT_TOTAL_LIMIT + 1
    else:
        start, counted, offset = cursors.decode(scope, query.cursor)
        skipped = 0
        found = find(query.limit + 1, start)
    shown = found.rows[skipped : skipped + query.limit]
    beyond = len(found.rows) > skipped + query.limit
    start_of_next = key_of(shown[-1]) if beyond else found.next_key
    return kind.model_construct(
        data=load(shown) if shown else [],
        total=min(counted, EXACT_TOTAL_LIMIT),
        limit=query.limit,
        offset=offset,
        has_more=start_of_next is not None,
        next_cursor=start_of_next and cursors.encode(scope, start_of_next, counted, offset + len(shown)),
        total_capped=counted > EXACT_TOTAL_LIMIT,
    )
