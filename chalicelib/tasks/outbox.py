"""The outbox: events of tasks that are stored and not yet published. Each is published at least once.

An event is stored in the transaction of its transition. If it needs publishing, it is stored with a due time in the
sweep's index. The process that made the transition also sends the event's key to the queue of events. If the process
ends first, or the queue loses or delays the message, the sweep publishes the event.

Publishing removes the due time, in the same transaction that creates the event's deliveries, if there are any. So this
happens once. If the event ends a task, the task is no longer counted as open afterwards.
"""

from typing import Any, NamedTuple

from chalicelib import dynamodb
from chalicelib.aws import sqs
from chalicelib.tasks import history_store, quota_rules, quotas, responses, store
from chalicelib.tasks.entities import Task, TaskEvent, is_end_key
from chalicelib.tasks.tables import EVENT, partition_key


class UnpublishedEvent(NamedTuple):
    """An event that is not published yet, with its key."""

    owner: str
    task_id: str
    key: str
    event: TaskEvent
    uncounted_bytes: int | None
    """What the end of a task adds to the owner's usage. None for an event that is not counted."""


def send_event(task: Task, event: TaskEvent | None) -> None:
    """Send the key of an event that needs publishing to the queue of events. If that fails, the sweep publishes it."""
    if event is not None and event.needs_publishing:
        sqs.send("events", {"owner": task.owner, "task": task.id, "event": EVENT + event.key})


def is_event(row: dynamodb.Row) -> bool:
    """Whether a row of the sweep's index is an event. Otherwise it is a task."""
    return str(row["sk"]).startswith(EVENT)


def event_keys(row: dynamodb.Row) -> tuple[str, str, str]:
    """The owner, the task and the key of an event in the sweep's index."""
    owner, _, task_id = row["pk"].partition("#")
    return owner, task_id, row["sk"]


def load_unpublished(owner: str, task_id: str, key: str) -> UnpublishedEvent | None:
    """An unpublished event. One request. None if it has been published or does not exist."""
    pk = partition_key(owner, task_id)
    if not is_end_key(key.removeprefix(EVENT)):
        event = history_store.load_unpublished(pk, key)
        return None if event is None else UnpublishedEvent(owner, task_id, key, event, None)
    found = history_store.load_unpublished_end(pk, key)
    if found is None:
        return None
    event, task = found
    log_bytes = 0 if task is None else quota_rules.uncounted_log_bytes(task)
    # An earlier version, which counted open tasks elsewhere, stored no size.
    uncounted = None if event.result_bytes is None else event.result_bytes + log_bytes
    return UnpublishedEvent(owner, task_id, key, event, uncounted)


def published_item(unpublished: UnpublishedEvent) -> dynamodb.TransactItem:
    """Mark an event as published, as part of a transaction. Fails if it already is."""
    pk = partition_key(unpublished.owner, unpublished.task_id)
    return history_store.published_item(pk, unpublished.key, unpublished.event)


def save_published(unpublished: UnpublishedEvent) -> bool:
    """Mark an event as published, in one write. False if it already is."""
    pk = partition_key(unpublished.owner, unpublished.task_id)
    return history_store.save_published(pk, unpublished.key, unpublished.event)


def count_published(published: UnpublishedEvent, now: int) -> None:
    """Count an event that this process has just published."""
    if published.uncounted_bytes is not None:
        quotas.count_end(published.owner, published.task_id, published.uncounted_bytes, published.event.at, now)


def load_payload(owner: str, task_id: str, event: TaskEvent, now: int) -> dict[str, Any] | None:
    """The data of an event for webhooks. One request. None if the task has expired."""
    found = store.load_with_result(owner, task_id, now)
    return None if found is None else responses.event_payload(event, *found)
