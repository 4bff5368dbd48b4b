"""The outbox: events of tasks that are stored and not yet published. Each is published at least once.

An event is stored in the transaction of its transition. If it needs publishing, it is stored with a due time in the
sweep's index. The process that made the transition also sends the event's key to the queue of events. If the process
ends first, or the queue loses or delays the message, the sweep publishes the event.

Publishing removes the due time in the same transaction that counts the event and creates its deliveries. So each of
these happens once.
"""

from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import service as auth
from chalicelib.aws import sqs
from chalicelib.tasks import history_store, responses, store
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.tasks.tables import EVENT, partition_key

_OPENING_TYPES = {"task.created"}
_ENDING_TYPES = {"task.completed", "task.failed", "task.cancelled"}


def send_event(task: Task, event: TaskEvent | None) -> None:
    """Send the key of an event that needs publishing to the queue of events. If that fails, the sweep publishes it."""
    if event is not None and event.needs_publishing:
        sqs.send("events", {"owner": task.owner, "task": task.id, "event": EVENT + event.key})


def event_keys(row: dynamodb.Row) -> tuple[str, str, str] | None:
    """The owner, the task and the key of an event in the sweep's index. None if the row is a task."""
    owner, _, task_id = row["pk"].partition("#")
    return (owner, task_id, row["sk"]) if row["sk"].startswith(EVENT) else None


def load_unpublished(owner: str, task_id: str, key: str) -> TaskEvent | None:
    """An unpublished event. None if it has been published or does not exist."""
    return history_store.load_unpublished(partition_key(owner, task_id), key)


def published_items(
    owner: str, task_id: str, key: str, event: TaskEvent
) -> tuple[dynamodb.TransactItem, list[dynamodb.TransactItem]]:
    """Items of the transaction that publishes an event.

    The first one marks the event as published, and fails if it already is. The others count the user's open tasks, and
    fail if the user does not exist.
    """
    difference = (event.type in _OPENING_TYPES) - (event.type in _ENDING_TYPES)
    return history_store.published_item(partition_key(owner, task_id), key, event), [
        auth.open_task_count_item(owner, difference)
    ] if difference else []


def load_payload(owner: str, task_id: str, event: TaskEvent, now: int) -> dict[str, Any] | None:
    """The data of an event for webhooks. One request. None if the task has expired."""
    found = store.load_with_result(owner, task_id, now)
    return None if found is None else responses.event_payload(event, *found)
