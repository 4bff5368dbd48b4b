"""A task's timeline and log: queries and writes of the rows that are stored beside its head."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from chalicelib import dynamodb
from chalicelib.tasks.entities import OPEN_STATUSES, Task, TaskEvent
from chalicelib.tasks.rules import PUBLISH_WITHIN, longest_life
from chalicelib.tasks.tables import (
    EVENT,
    HEAD,
    LOG,
    EventRow,
    HeadRow,
    LogRow,
    expiry,
    head_item,
    log_expiry,
    partition_key,
    to_task,
)

_MAX_CHARACTER_BYTES = 4
"""The maximum size of a character in UTF-8 (RFC 3629, section 3)."""

_CONTINUATION_BYTES = range(0x80, 0xC0)
"""Bytes that are not the first one of a character in UTF-8 (RFC 3629, section 3)."""

_MAX_PAGES = 3
"""How many pages of rows one read of a log reads at most. A page has up to 1 MB."""

_MAX_LOG_OFFSET = 10**9
"""More than any log has. The offset in the sort key of a chunk has ten digits."""


def event_item(task: Task, event: TaskEvent) -> dynamodb.TransactItem:
    """Store an event. One that needs publishing stays in the sweep's index until it is published."""
    pk = partition_key(task.owner, task.id)
    row = dynamodb.item(
        EventRow,
        pk=pk,
        sk=EVENT + event.key,
        type=event.type,
        at=event.at,
        status=event.status,
        attempt=event.attempt,
        agent_id=event.agent_id,
        detail=event.detail,
        result_bytes=event.result_bytes,
        due_shard=dynamodb.shard(pk) if event.needs_publishing else None,
        due_at=event.at + PUBLISH_WITHIN if event.needs_publishing else None,
        expires_at=None if event.needs_publishing else _event_expiry(event),
    )
    return dynamodb.transact_put(row)


def _event_expiry(event: TaskEvent) -> int:
    """When an event expires. An event that ends the task expires with the head, any other one not before it."""
    return expiry(event.at + (longest_life() if event.status in OPEN_STATUSES else 0))


def find_events(task: Task, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """A page of a task's events, oldest first. Without those of an earlier task with the same id, which has expired."""
    return dynamodb.query(
        EventRow,
        partition_key(task.owner, task.id),
        key_condition=dynamodb.between(EventRow.sk, f"{EVENT}{task.created_at:013d}", f"{EVENT}~"),
        limit=limit,
        start=start,
        consistent=True,
    )


def cursor_key(row: dynamodb.Row) -> dict[str, Any]:
    """The key from which a list continues after this row."""
    return {"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}


def to_event(row: dynamodb.Row) -> TaskEvent:
    return TaskEvent(
        row["type"],
        row["at"],
        row["status"],
        row["attempt"],
        row.get("agent"),
        row.get("detail"),
        row.get("bytes"),
    )


def load_unpublished(pk: str, sk: str) -> TaskEvent | None:
    """An unpublished event. None if it has been published or does not exist."""
    row = dynamodb.get_item(EventRow, pk, sk)
    return to_event(row) if row is not None and "dueAt" in row else None


def load_unpublished_end(pk: str, sk: str) -> tuple[TaskEvent, Task | None] | None:
    """An unpublished event that ends a task, with the task. One request. None as for `load_unpublished`."""
    rows = {row["sk"]: row for row in dynamodb.batch_get(HeadRow, [(pk, sk), (pk, HEAD)], consistent=True)}
    event, head = rows.get(sk), rows.get(HEAD)
    if event is None or "dueAt" not in event:
        return None
    return to_event(event), None if head is None else to_task(head)


def published_item(pk: str, sk: str, event: TaskEvent) -> dynamodb.TransactItem:
    """Mark an event as published, as part of a transaction. Fails if it already is."""
    return dynamodb.transact_update(_event_row(pk, sk), _published(event), dynamodb.exists(EventRow.due_at))


def save_published(pk: str, sk: str, event: TaskEvent) -> bool:
    """Mark an event as published. False if it already is."""
    try:
        dynamodb.update_item(_event_row(pk, sk), _published(event), dynamodb.exists(EventRow.due_at))
    except dynamodb.ConditionFailed:
        return False
    return True


def _published(event: TaskEvent) -> list[dynamodb.Clause]:
    return dynamodb.set_or_remove(EventRow, {"due_shard": None, "due_at": None, "expires_at": _event_expiry(event)})


def append_log_items(before: Task, after: Task, chunks: Sequence[str], now: int) -> list[dynamodb.TransactItem]:
    """Items of a transaction that appends chunks to an attempt's log. Fails if the log has changed since `before`."""
    condition = dynamodb.equals(HeadRow.log_bytes, before.log_bytes) & dynamodb.equals(HeadRow.attempt, before.attempt)
    actions = [dynamodb.set_value(HeadRow.log_bytes, after.log_bytes)]
    if after.final_log_appended:
        actions.append(dynamodb.set_value(HeadRow.final_log_appended, True))  # noqa: FBT003  # the value to store
    if after.log_closed:
        actions.append(dynamodb.set_value(HeadRow.log_closed, True))  # noqa: FBT003  # the value to store
    items = [dynamodb.transact_update(head_item(before), actions, condition)]
    at = before.log_bytes
    expires_at = log_expiry(now + longest_life(before.max_attempts, before.timeout))
    for chunk in chunks:
        key = _log_key(before.attempt, at)
        pk = partition_key(before.owner, before.id)
        row = dynamodb.item(LogRow, pk=pk, sk=key, text=chunk, at=now, expires_at=expires_at)
        items.append(dynamodb.transact_put(row))
        at += len(chunk.encode())
    return items


class LogPart(NamedTuple):
    """A part of an attempt's log."""

    text: str
    offset: int
    """Where the text begins, in bytes."""
    reaches_end: bool
    """Whether nothing is stored after the text."""


def read_log(task: Task, attempt: int, offset: int, limit: int) -> LogPart:
    """At most `limit` bytes of an attempt's log from a byte offset.

    No character is split. At least one character is returned, even if the limit is smaller. An offset within a
    character means the beginning of the next one.

    The number of requests is bounded as well. So of a log of many small chunks, a read returns less than `limit`, and
    the reader continues where the text ends.

    Small chunks are joined here and not in the table. To append to the last row of a log, a writer would have to read
    that row, or to keep its text in the head, and to write it again as a whole. A query reads 1 MB of rows, which are
    7,000 chunks of one byte, for 256 read units. Each write of a row takes at least two write units, which cost five
    times as much.
    """
    is_latest, limit = attempt == task.attempt, max(limit, _MAX_CHARACTER_BYTES)
    if attempt > task.attempt or offset > _MAX_LOG_OFFSET or (is_latest and offset >= task.log_bytes):
        return LogPart("", offset, reaches_end=True)
    stop = min(offset + limit, task.log_bytes) if is_latest else offset + limit
    rows, all_read = _read_chunks(task, attempt, offset, stop)
    begin, data, joins_all = _join(rows, offset)
    is_last = stop == task.log_bytes if is_latest else begin + len(data) < stop
    reaches_end = all_read and joins_all and (is_last or not data)
    while data and data[0] in _CONTINUATION_BYTES:
        begin, data = begin + 1, data[1:]
    return LogPart(data[:limit].decode(errors="ignore"), begin, reaches_end)


def _read_chunks(task: Task, attempt: int, offset: int, stop: int) -> tuple[list[dynamodb.Row], bool]:
    """The chunks of a log with text from `offset` to before `stop`, in their order, and whether these are all.

    If there are none, the next chunk after them. An earlier version of the platform let the chunks of a log expire one
    after the other, so the beginning of a log may be missing.
    """

    def query(first: int, last: int, *, limit: int | None, start: Any = None, forward: bool = True) -> dynamodb.Page:
        keys = dynamodb.between(LogRow.sk, _log_key(attempt, first), _log_key(attempt, last))
        pk = partition_key(task.owner, task.id)
        return dynamodb.query(
            LogRow, pk, key_condition=keys, limit=limit, start=start, forward=forward, consistent=True
        )

    rows: list[dynamodb.Row] = []
    all_read = True
    for page in islice(dynamodb.paginate(lambda start: query(offset, stop - 1, limit=None, start=start)), _MAX_PAGES):
        rows += page.rows
        all_read = page.next_key is None
    if offset and (not rows or rows[0]["sk"] != _log_key(attempt, offset)):
        rows[:0] = query(0, offset, limit=1, forward=False).rows  # the chunk that contains the offset
    if all(_end(row) <= offset for row in rows):
        rows = query(stop, 2 * _MAX_LOG_OFFSET, limit=1).rows
        all_read = not rows
    created_at = task.created_at or 0  # an earlier task with the same id, which has expired, may have left some rows
    return [row for row in rows if row["at"] >= created_at], all_read


def _join(rows: Sequence[dynamodb.Row], offset: int) -> tuple[int, bytes, bool]:
    """The text of consecutive chunks from a byte offset on, where it begins, and whether it has all of the chunks.

    It ends at a gap between chunks.
    """
    begin = position = offset
    pieces: list[bytes] = []
    for row in rows:
        start, text = _start(row), row["text"].encode()
        if start > position:
            if position > offset:
                return begin, b"".join(pieces), False
            begin = position = start
        pieces.append(text[position - start :])
        position = max(position, start + len(text))
    return begin, b"".join(pieces), True


def _start(row: dynamodb.Row) -> int:
    """Where a chunk begins, in bytes from the beginning of the attempt's log."""
    return int(row["sk"].rpartition("#")[2])


def _end(row: dynamodb.Row) -> int:
    return _start(row) + len(row["text"].encode())


def _event_row(pk: str, sk: str) -> dynamodb.Item:
    return dynamodb.item(EventRow, pk=pk, sk=sk)


def _log_key(attempt: int, offset: int) -> str:
    return f"{LOG}{attempt:04d}#{offset:010d}"
