"""What a task leaves behind: its timeline and its log, as rows beside its head."""

from collections.abc import Sequence
from typing import Any

from chalicelib import db
from chalicelib.tasks.model import ANNOUNCED_WITHIN
from chalicelib.tasks.rows import (
    EVENT,
    LOG,
    EventRow,
    HeadRow,
    LogRow,
    expiry,
    head,
    log_expiry,
    partition,
)
from chalicelib.tasks.task import Event, Task

_LONGEST_CHARACTER = 4
"""Bytes, in UTF-8."""

_WITHIN_CHARACTER = range(0x80, 0xC0)
"""Bytes that are not the first one of a character, in UTF-8 (RFC 3629, section 3)."""

_LOG_PAGE = 50


def told(task: Task, event: Event) -> db.Part:
    """The event's row; one that is to be announced is in the sweep's index until it was."""
    pk = partition(task.owner, task.id)
    row = db.item(
        EventRow,
        pk=pk,
        sk=EVENT + event.key,
        type=event.type,
        at=event.at,
        status=event.status,
        attempt=event.attempt,
        agent=event.agent,
        detail=event.detail,
        due_shard=db.shard(pk) if event.announced else None,
        due_at=event.at + ANNOUNCED_WITHIN if event.announced else None,
        expires_at=None if event.announced else expiry(event.at),
    )
    return db.put(row)


def events(owner: str, task: str, limit: int, start: dict[str, Any] | None) -> db.Page:
    return db.query(
        EventRow,
        partition(owner, task),
        within=EventRow.sk.startswith(EVENT),
        limit=limit,
        start=start,
        consistent=True,
    )


def event_key(row: db.Row) -> dict[str, Any]:
    return {"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}


def to_event(row: db.Row) -> Event:
    return Event(row["type"], row["at"], row["status"], row["attempt"], row.get("agent"), row.get("detail"))


def unsent(pk: str, sk: str) -> Event | None:
    """An event that is still to be announced; None where it was, or there is none."""
    row = db.get(EventRow, pk, sk)
    return to_event(row) if row is not None and "dueAt" in row else None


def announced(pk: str, sk: str, event: Event) -> db.Part:
    """Part of a transaction: an event was announced. Fails where it was before."""
    actions = [EventRow.due_shard.remove(), EventRow.due_at.remove(), EventRow.expires_at.set(expiry(event.at))]
    return db.change(EventRow(pk, sk), actions, EventRow.due_at.exists())


def announce_later(pk: str, sk: str, at: int) -> bool:
    """Look at an unsent event again at another time; False where it was announced meanwhile."""
    try:
        db.update(EventRow(pk, sk), [EventRow.due_at.set(at)], EventRow.due_at.exists())
    except db.Failed:
        return False
    return True


def append_log(before: Task, after: Task, chunks: Sequence[str], now: int) -> list[db.Part]:
    """Parts of a transaction that append to the log of a task's attempt, if it ends where `before` says."""
    condition = (HeadRow.logged == before.logged) & (HeadRow.attempt == before.attempt)
    actions = [HeadRow.logged.set(after.logged)]
    if after.last_log:
        actions.append(HeadRow.last_log.set(True))
    parts = [db.change(head(before), actions, condition)]
    at = before.logged
    for chunk in chunks:
        key = _log_key(before.attempt, at)
        row = LogRow(partition(before.owner, before.id), key, text=chunk, at=now, expires_at=log_expiry(now))
        parts.append(db.put(row))
        at += len(chunk.encode())
    return parts


def read_log(task: Task, attempt: int, offset: int, limit: int, now: int) -> tuple[str, int]:
    """At most `limit` bytes of an attempt's log from a byte offset on, and the offset where they end.

    No character is split, and the next one always comes, however small the limit; an offset within a character is taken
    for the beginning of the next one.
    """
    pk, limit = partition(task.owner, task.id), max(limit, _LONGEST_CHARACTER)
    up_to = LogRow.sk.between(_log_key(attempt, 0), _log_key(attempt, offset))
    before = db.query(LogRow, pk, within=up_to, limit=1, forward=False, consistent=True)
    if not before.rows:
        return "", offset
    first = before.rows[0]["sk"]
    onward = LogRow.sk.between(first, _log_key(attempt, offset + limit))
    pieces: list[bytes] = []
    for page in db.pages(
        lambda start: db.query(LogRow, pk, within=onward, limit=_LOG_PAGE, start=start, consistent=True)
    ):
        pieces += [row["text"].encode() for row in page.rows if db.kept(row, now)]
    begin = offset - int(first.rpartition("#")[2])
    there = b"".join(pieces)
    while there[begin : begin + 1] and there[begin] in _WITHIN_CHARACTER:
        begin += 1
        offset += 1
    text = there[begin : begin + limit].decode(errors="ignore")
    return text, offset + len(text.encode())


def _log_key(attempt: int, offset: int) -> str:
    return f"{LOG}{attempt:04d}#{offset:010d}"
