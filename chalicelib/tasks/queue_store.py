"""Reads the queue together with the heads of its tasks, which have what the index of queued tasks lacks."""

from collections.abc import Collection
from typing import NamedTuple

from chalicelib import dynamodb
from chalicelib.tasks.entities import Task
from chalicelib.tasks.tables import HEAD, HeadRow, partition_key, to_task

BEGINNING, END = "!", "~"
"""These sort before and after every intent, see `chalicelib.tasks.requests.Intent`."""


class QueuePage(NamedTuple):
    """Some consecutive tasks of a queue. The index that they come from may be some seconds old."""

    is_empty: bool
    """Whether the page has no row, of whatever intent."""
    tasks: list[Task]
    """Its tasks of the wanted intents that are still queued."""
    end: str | None
    """The position after the last row of the page. None if the queue ends with it."""


def read_queue(owner: str, queue: str, intents: Collection[str], start: str, last: str, limit: int) -> QueuePage:
    """The next `limit` rows of a queue from the position `start` on, up to the intent `last`.

    A position is `BEGINNING`, an intent, or the end of an earlier page. It may be that of a task that is not queued any
    more. One request, or two if there are rows of these intents.
    """
    order, _, task_id = start.rpartition("#") if "#" in start else (start, "", "")
    start_key = {
        "queue": {"S": queue},
        "queueOrder": {"S": order},
        "pk": {"S": partition_key(owner, task_id)},
        "sk": {"S": HEAD},
    }
    page = dynamodb.query(
        HeadRow,
        queue,
        index="queue",
        key_condition=dynamodb.between(HeadRow.queue_order, order, f"{last}#{END}"),
        limit=limit,
        start=start_key if task_id else None,
    )
    keys = [(row["pk"], HEAD) for row in page.rows if row["queueOrder"].partition("#")[0] in intents]
    heads = {row["pk"]: to_task(row) for row in dynamodb.batch_get(HeadRow, keys)}
    tasks = [heads[pk] for pk, _ in keys if pk in heads and heads[pk].status == "queued"]
    end = page.next_key
    return QueuePage(
        not page.rows, tasks, None if end is None else f"{end['queueOrder']['S']}#{end['pk']['S'].partition('#')[2]}"
    )


def intent_at(position: str) -> str:
    """The intent at a position of a queue."""
    return position.partition("#")[0]
