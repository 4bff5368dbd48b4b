"""chalicelib/tasks/queue_store.py, over Amazon's DynamoDB Local: positions in a queue that changes."""

from collections.abc import Callable

import pytest

from chalicelib import dynamodb
from chalicelib.tasks import queue_store
from chalicelib.tasks.entities import Task
from chalicelib.tasks.tables import head_item, head_values
from tests.support.builders import NOW


def queued(task_id: str, intent: str, created_at: int) -> Task:
    return Task(
        owner="user-1", id=task_id, status="queued", intent=intent, repo="r", title="t", request_digest="d",
        created_at=created_at, updated_at=created_at, queued_at=created_at,
    )  # fmt: skip


def store(*tasks: Task) -> None:
    for task in tasks:
        row = dynamodb.item(head_item(task).model, **head_item(task).values, **head_values(task))
        dynamodb.transact_write(dynamodb.transact_put(row))


def read_all(
    start: str, intents: list[str], last: str, at_end_of_page: Callable[[str], None] = lambda _: None
) -> list[str]:
    """The ids of all tasks from a position on, in pages of three."""
    found: list[str] = []
    position: str | None = start
    while position is not None:
        page = queue_store.read_queue("user-1", "user-1", intents, position, last, 3)
        found += [task.id for task in page.tasks]
        position = page.end
        if position is not None:
            at_end_of_page(position)
    return found


@pytest.mark.usefixtures("true_dynamodb")
def test_pages_continue_at_positions_of_tasks_that_are_not_queued_any_more() -> None:
    """Seven tasks of one millisecond, which the index orders by chance, are between others."""
    tasks = [queued(f"a-{number}", "a", NOW + number) for number in range(4)]
    tasks += [queued(f"same-{number}", "m", NOW) for number in range(7)]
    tasks += [queued(f"z-{number}", "z", NOW + number) for number in range(2)]
    store(*tasks)
    every = {task.id for task in tasks}

    def claim_last(position: str) -> None:
        """The task at the end of the page leaves the queue."""
        task_id = position.rpartition("#")[2]
        store(next(task for task in tasks if task.id == task_id).model_copy(update={"status": "assigned"}))

    found = read_all(queue_store.BEGINNING, ["a", "m", "z"], queue_store.END, claim_last)
    assert len(found) == len(every)
    assert set(found) == every
    store(*tasks)
    assert set(read_all("m", ["m"], "m")) == {f"same-{number}" for number in range(7)}
    assert read_all("b", ["b", "z"], "z") == ["z-0", "z-1"], "an intent without tasks, and one that is skipped"
    order = queue_store.read_queue("user-1", "user-1", ["a"], "a", "a", 2).end
    assert order is not None
    unknown = order.replace("a-1", "~never-queued")
    assert set(read_all(unknown, ["a"], "a")) >= {"a-2", "a-3"}
    empty = queue_store.read_queue("user-1", "user-1@agent-1", ["a"], queue_store.BEGINNING, queue_store.END, 3)
    assert empty == (True, [], None)
