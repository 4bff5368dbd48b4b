"""Announcing what has happened: each event that somebody waits for, at least once.

An event is written in the transaction of the change that it tells, marked as unsent: a due time in the sweep's index.
Whoever made the change also puts its key on the queue of events; where that process died first, or the queue would
not take it, the sweep does. Announcing removes the mark in the transaction that counts the event, so it counts once.
"""

from chalicelib import db, queue
from chalicelib.auth import service as auth
from chalicelib.log import logger
from chalicelib.settings import MINUTE
from chalicelib.tasks import journal
from chalicelib.tasks.rows import EVENT
from chalicelib.tasks.task import Event, Task

AGAIN_AFTER = MINUTE
_OPENED, _ENDED = {"task.created"}, {"task.completed", "task.failed", "task.cancelled"}


def send(task: Task, event: Event | None) -> None:
    """Put an event on the queue, if it is one to be announced; failing that, the sweep will."""
    if event is not None and event.announced:
        queue.send("events", {"owner": task.owner, "task": task.id, "event": EVENT + event.key})


def take_up(key: db.Row, now: int) -> bool:
    """What the sweep does with an event that is still unsent: send it, and look again later."""
    if not journal.announce_later(key["pk"], key["sk"], now + AGAIN_AFTER):
        return False
    owner, _, task = key["pk"].partition("#")
    return queue.send("events", {"owner": owner, "task": task, "event": key["sk"]})


def announce(owner: str, task: str, key: str) -> None:
    """Handle one message of the queue of events. May run twice, late, or for an event that is gone."""
    pk = f"{owner}#{task}"
    event = journal.unsent(pk, key)
    if event is None:
        logger.info("an event that was announced before", extra={"task": task})
        return
    parts = [journal.announced(pk, key, event)]
    by = (event.type in _OPENED) - (event.type in _ENDED)
    if by:
        parts.append(auth.count_open_tasks(owner, by))
    try:
        db.write(*parts)
    except db.Cancelled as cancelled:
        if 0 not in cancelled.rows:  # the user is gone; so is whoever wanted to know
            db.write(parts[0])
