"""Queries of lists and counts of tasks."""

from collections.abc import Callable, Sequence
from typing import Any

from chalicelib import dynamodb
from chalicelib.core.threads import run_concurrently
from chalicelib.http.pagination import MIN_ROWS_EXAMINED
from chalicelib.tasks import merging, partitions
from chalicelib.tasks.entities import Task, TaskStatus
from chalicelib.tasks.requests import TaskQuery
from chalicelib.tasks.tables import HEAD, HeadRow, to_task

_STATUS_KEY = "ownerStatus"
"""The partition key of the index `by_status`."""


def find_tasks(owner: str, query: TaskQuery, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """Keys of a user's tasks, newest first, from the index that fits the filters of the query best.

    `start`: a key that `cursor_key` returned, or the `next_key` of a page.
    """
    if query.status is not None:
        return _find_in_status(owner, query.status, query, limit, start)
    matching: dynamodb.Clause | None = None
    if query.agent_id is not None:
        index, key = "by_agent", f"{owner}#{query.agent_id}"
        if query.intent is not None:
            matching, limit = dynamodb.equals(HeadRow.intent, query.intent), max(limit, MIN_ROWS_EXAMINED)
    elif query.intent is not None:
        index, key = "by_intent", f"{owner}#{query.intent}"
    else:
        index, key = "recent", owner
    return dynamodb.query(HeadRow, key, index=index, filter_condition=matching, limit=limit, start=start, forward=False)


def _find_in_status(
    owner: str, status: TaskStatus, query: TaskQuery, limit: int, start: dict[str, Any] | None
) -> dynamodb.Page:
    """Tasks in this status. The open ones may be in several partitions, which are read at the same time."""
    matching: dynamodb.Clause | None = None
    for attribute, wanted in (
        (HeadRow.owner_agent, query.agent_id and f"{owner}#{query.agent_id}"),
        (HeadRow.intent, query.intent),
    ):
        if wanted is not None:
            matches = dynamodb.equals(attribute, wanted)
            matching = matches if matching is None else matching & matches
    if matching is not None:
        limit = max(limit, MIN_ROWS_EXAMINED)

    def read(key: str, after: dict[str, Any] | None, times: dynamodb.Clause | None = None) -> dynamodb.Page:
        return dynamodb.query(
            HeadRow,
            key,
            index="by_status",
            key_condition=times,
            filter_condition=matching,
            limit=limit,
            start=after,
            forward=False,
        )

    keys = partitions.status_keys(owner, status)
    if len(keys) == 1 and merging.is_in(start, keys[0], _STATUS_KEY):
        return read(keys[0], start)
    position = merging.to_position(start, _STATUS_KEY)

    def read_from_position(key: str) -> dynamodb.Page:
        after = merging.key_in(position, key, _STATUS_KEY, HEAD)
        not_later = None if after is not None or position.at is None else position.at
        return read(key, after, None if not_later is None else dynamodb.at_most(HeadRow.created_at, not_later))

    pages = run_concurrently(read_from_position, keys, len(keys))
    return merging.merge(dict(zip(keys, pages, strict=True)), position, _STATUS_KEY, HEAD)


def cursor_key(query: TaskQuery) -> Callable[[dynamodb.Row], dict[str, Any]]:
    """A function from a row to the key from which a list with these filters continues.

    The key consists of the row's keys in the table and in the index that `find_tasks` uses.
    """
    if query.status is not None:
        index_key = _STATUS_KEY
    elif query.agent_id is not None:
        index_key = "ownerAgent"
    elif query.intent is not None:
        index_key = "ownerIntent"
    else:
        index_key = "owner"

    def to_key(row: dynamodb.Row) -> dict[str, Any]:
        key = {
            "pk": {"S": row["pk"]},
            "sk": {"S": row["sk"]},
            index_key: {"S": row[index_key]},
            "createdAt": {"N": str(row["createdAt"])},
        }
        return merging.with_others(key, row.get("others", {}))

    return to_key


def load_tasks(rows: Sequence[dynamodb.Row], now: int) -> list[Task]:
    """The tasks of some index rows, in their order."""
    heads = {row["pk"]: row for row in dynamodb.batch_get(HeadRow, [(row["pk"], row["sk"]) for row in rows])}
    return [
        to_task(heads[row["pk"]]) for row in rows if row["pk"] in heads and dynamodb.not_expired(heads[row["pk"]], now)
    ]


def count_tasks(owner: str, status: TaskStatus, maximum: int) -> int:
    """The number of a user's tasks in a status. Counts up to `maximum`."""
    keys = partitions.status_keys(owner, status)
    counts = run_concurrently(
        lambda key: dynamodb.count_items(HeadRow, key, index="by_status", maximum=maximum), keys, len(keys)
    )
    return min(sum(counts), maximum)


def oldest_created_at(owner: str, status: TaskStatus) -> int | None:
    """When the oldest of a user's tasks in a status was submitted. None if there is none."""
    keys = partitions.status_keys(owner, status)
    pages = run_concurrently(lambda key: dynamodb.query(HeadRow, key, index="by_status", limit=1), keys, len(keys))
    return min((int(row["createdAt"]) for page in pages for row in page.rows), default=None)
