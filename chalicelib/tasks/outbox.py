"""Announcing what has happened: each event that somebody waits for, at least once.

An event is written in the transaction of the change that it tells, marked as unsent: a due time in the sweep's index.
Whoever made the change also puts its key on the queue of events; where that process died first, or the queue would
not take it, the sweep does. Announcing removes the mark in the transaction that counts the event and puts it on its way
to whoever wants to be told, so all of that happens once.
"""

from typing import Any

from chalicelib import db, queue
from chalicelib.auth import service as auth
from chalicelib.settings import MINUTE
from chalicelib.tasks import journal, store, views
from chalicelib.tasks.rows import EVENT, partition
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


def unsent(owner: str, task: str, key: str) -> Event | None:
    """An event that is still to be announced; None where it was, or there is none."""
    return journal.unsent(partition(owner, task), key)


def announced(owner: str, task: str, key: str, event: Event) -> tuple[db.Part, list[db.Part]]:
    """Parts of the transaction that announces an event: one that fails where it was before, and those that count it,
    which fail where the user is gone."""
    by = (event.type in _OPENED) - (event.type in _ENDED)
    return journal.announced(partition(owner, task), key, event), [auth.count_open_tasks(owner, by)] if by else []


def told(owner: str, task: str, event: Event, now: int) -> dict[str, Any] | None:
    """What webhooks tell of an event. One request; None where the task is gone, its time being over."""
    found = store.load_outcome(owner, task, now)
    return None if found is None else views.told(event, *found)
