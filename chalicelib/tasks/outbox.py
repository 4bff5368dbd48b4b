"""Announcing what has happened: each event that somebody waits for, at least once.

An event is written in the transaction of the change that it tells, marked as unsent: a due time in the sweep's index.
Whoever made the change also puts its key on the queue of events; where that process died first, or the queue would
not take it, the sweep does. Announcing removes the mark in the transaction that counts the event and puts it on its way
to whoever wants to be told, so all of that happens once.
"""

from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import service as auth
from chalicelib.aws import sqs
from chalicelib.core.settings import MINUTE
from chalicelib.tasks import history_store, responses, store
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.tasks.tables import EVENT, partition_key

RESEND_AFTER = MINUTE
_OPENED, _ENDED = {"task.created"}, {"task.completed", "task.failed", "task.cancelled"}


def send_event(task: Task, event: TaskEvent | None) -> None:
    """Put an event on the queue, if it is one to be announced; failing that, the sweep will."""
    if event is not None and event.is_published:
        sqs.send("events", {"owner": task.owner, "task": task.id, "event": EVENT + event.key})


def resend_event(key: dynamodb.Row, now: int) -> bool:
    """What the sweep does with an event that is still unsent: send it, and look again later."""
    if not history_store.postpone_event(key["pk"], key["sk"], now + RESEND_AFTER):
        return False
    owner, _, task = key["pk"].partition("#")
    return sqs.send("events", {"owner": owner, "task": task, "event": key["sk"]})


def load_unpublished(owner: str, task_id: str, key: str) -> TaskEvent | None:
    """An event that is still to be announced; None where it was, or there is none."""
    return history_store.load_unpublished(partition_key(owner, task_id), key)


def published_items(
    owner: str, task_id: str, key: str, event: TaskEvent
) -> tuple[dynamodb.TransactItem, list[dynamodb.TransactItem]]:
    """Parts of the transaction that announces an event: one that fails where it was before, and those that count it,
    which fail where the user is gone."""
    by = (event.type in _OPENED) - (event.type in _ENDED)
    return history_store.published_item(partition_key(owner, task_id), key, event), [
        auth.open_task_count_item(owner, by)
    ] if by else []


def load_payload(owner: str, task_id: str, event: TaskEvent, now: int) -> dict[str, Any] | None:
    """What webhooks tell of an event. One request; None where the task is gone, its time being over."""
    found = store.load_with_result(owner, task_id, now)
    return None if found is None else responses.event_payload(event, *found)
