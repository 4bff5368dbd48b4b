"""chalicelib/tasks/list_store.py, over Amazon's DynamoDB Local: lists of tasks in several partitions."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib import dynamodb
from chalicelib.tasks import list_store
from chalicelib.tasks.entities import Task
from chalicelib.tasks.requests import TaskQuery
from chalicelib.tasks.tables import HeadRow, head_item, head_values
from tests.conftest import SetPartitions
from tests.support.builders import NOW

OWNER = "user-1"
TASKS = [
    Task(
        owner=OWNER, id=f"task-{number:02d}", status="queued", intent="odd" if number % 2 else "even", repo="r",
        title="t", request_digest="d", created_at=NOW + number // 5, updated_at=NOW,
    )
    for number in range(30)
]  # fmt: skip
"""Always five of them were submitted in the same millisecond."""


def store(*tasks: Task) -> None:
    for task in tasks:
        row = dynamodb.item(HeadRow, **head_item(task).values, **head_values(task))
        dynamodb.transact_write(dynamodb.transact_put(row))


def list_all(query: TaskQuery, at_end_of_page: Callable[[str], None] = lambda _: None) -> list[Task]:
    """All tasks of a list, page after page, as `pagination.list_page` reads them."""
    by_key = {head_item(task).key()["pk"]["S"]: task for task in TASKS}
    found: list[dynamodb.Row] = []
    start: dict[str, Any] | None = None
    while True:
        page = list_store.find_tasks(OWNER, query, query.limit + 1, start)
        rows = page.rows[: query.limit]
        found += rows
        start = page.next_key if len(page.rows) <= query.limit else list_store.cursor_key(query)(rows[-1])
        if start is None:
            return [by_key[row["pk"]] for row in found]
        if rows:
            at_end_of_page(by_key[rows[-1]["pk"]].id)


@pytest.mark.usefixtures("true_dynamodb")
def test_list_of_several_partitions_continues_after_tasks_that_have_left_it(
    set_partitions: SetPartitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_partitions(4)
    store(*TASKS)
    assert list_store.count_tasks(OWNER, "queued", 1_000) == len(TASKS)
    assert list_store.count_tasks(OWNER, "queued", 7) == 7
    assert list_store.oldest_created_at(OWNER, "queued") == NOW

    def start_last(task_id: str) -> None:
        """The last task of the page leaves the list before the next page is read."""
        store(next(task for task in TASKS if task.id == task_id).model_copy(update={"status": "in_progress"}))

    monkeypatch.setattr(list_store, "MIN_ROWS_EXAMINED", 1)
    for limit, intent in ((1, "odd"), (3, None), (4, "even")):
        store(*TASKS)
        listed = list_all(TaskQuery(status="queued", limit=limit, intent=intent), start_last)
        assert sorted(task.id for task in listed) == [task.id for task in TASKS if intent in (None, task.intent)]
        times = [task.created_at or 0 for task in listed]
        assert times == sorted(times, reverse=True)
