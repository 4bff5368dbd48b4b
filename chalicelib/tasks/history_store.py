"""A task's timeline and log: queries and writes of the rows that are stored beside its head."""

from collections.abc import Sequence
from typing import Any

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

_LOG_PAGE_SIZE = 50


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


def read_log(task: Task, attempt: int, offset: int, limit: int) -> tuple[str, int]:
    """At most `limit` bytes of an attempt's log from a byte offset, and the offset where they end.

    No character is split. At least one character is returned, even if the limit is smaller. An offset within a
    character means the beginning of the next one.
    """
    pk, limit = partition_key(task.owner, task.id), max(limit, _MAX_CHARACTER_BYTES)
    up_to_offset = dynamodb.between(LogRow.sk, _log_key(attempt, 0), _log_key(attempt, offset))
    last_before = dynamodb.query(LogRow, pk, key_condition=up_to_offset, limit=1, forward=False, consistent=True)
    if not last_before.rows:
        return "", offset
    first = last_before.rows[0]["sk"]
    requested = dynamodb.between(LogRow.sk, first, _log_key(attempt, offset + limit))
    pieces: list[bytes] = []
    for page in dynamodb.paginate(
        lambda start: dynamodb.query(
            LogRow, pk, key_condition=requested, limit=_LOG_PAGE_SIZE, start=start, consistent=True
        )
    ):
        pieces += [row["text"].encode() for row in page.rows if row["at"] >= (task.created_at or 0)]
    begin = offset - int(first.rpartition("#")[2])
    stored = b"".join(pieces)
    while stored[begin : begin + 1] and stored[begin] in _CONTINUATION_BYTES:
        begin += 1
        offset += 1
    text = stored[begin : begin + limit].decode(errors="ignore")
    return text, offset + len(text.encode())


def _event_row(pk: str, sk: str) -> dynamodb.Item:
    return dynamodb.item(EventRow, pk=pk, sk=sk)


def _log_key(attempt: int, offset: int) -> str:
    return f"{LOG}{attempt:04d}#{offset:010d}"
