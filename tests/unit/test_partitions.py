"""chalicelib/tasks/partitions.py: the keys of the partitions over which the open tasks of an owner are spread."""

from collections import Counter
from typing import get_args

from chalicelib.tasks import partitions
from chalicelib.tasks.entities import OPEN_STATUSES, TaskStatus
from tests.conftest import SetPartitions

OWNER = "user-1"
TASKS = [f"task-{number}" for number in range(4_000)]


def test_one_partition_has_the_keys_of_earlier_versions() -> None:
    assert partitions.queue_keys(OWNER) == [OWNER]
    assert partitions.queue_key(OWNER, "task-1", None) == OWNER
    for status in get_args(TaskStatus):
        assert partitions.status_keys(OWNER, status) == [f"user-1#{status}"]
        assert partitions.status_key(OWNER, "task-1", status) == f"user-1#{status}"


def test_several_partitions_contain_the_keys_of_fewer(set_partitions: SetPartitions) -> None:
    keys = []
    for number in range(1, 9):
        set_partitions(number)
        keys.append([partitions.queue_keys(OWNER), partitions.status_keys(OWNER, "queued")])
    assert keys[2] == [["user-1", "user-1#1", "user-1#2"], ["user-1#queued", "user-1#queued#1", "user-1#queued#2"]]
    for number, (queues, statuses) in enumerate(keys, 1):
        assert (queues, statuses) == (keys[7][0][:number], keys[7][1][:number])


def test_open_tasks_are_spread_evenly_over_keys_that_are_read(set_partitions: SetPartitions) -> None:
    set_partitions(4)
    for status in OPEN_STATUSES:
        found = Counter(partitions.status_key(OWNER, task_id, status) for task_id in TASKS)
        assert sorted(found) == sorted(partitions.status_keys(OWNER, status))
        assert max(found.values()) < 1.1 * len(TASKS) / 4
    queues = Counter(partitions.queue_key(OWNER, task_id, None) for task_id in TASKS)
    assert sorted(queues) == sorted(partitions.queue_keys(OWNER))
    assert [partitions.suffix(task_id) for task_id in TASKS[:5]] == ["#2", "#3", "", "", ""], "they never change"


def test_queues_of_pinned_tasks_and_ended_tasks_are_not_spread(set_partitions: SetPartitions) -> None:
    set_partitions(4)
    assert {partitions.queue_key(OWNER, task_id, "agent-1") for task_id in TASKS[:50]} == {"user-1@agent-1"}
    for status in set(get_args(TaskStatus)) - OPEN_STATUSES:
        assert {partitions.status_key(OWNER, task_id, status) for task_id in TASKS[:50]} == {f"user-1#{status}"}
        assert partitions.status_keys(OWNER, status) == [f"user-1#{status}"]


def test_keys_beyond_the_setting_are_not_in_use(set_partitions: SetPartitions) -> None:
    set_partitions(3)
    keys = {
        "user-1": 0, "user-1#2": 2, "user-1#3": 3, "user-1@agent-1": 0, "user-1@7": 0, "7": 0, "": 0,
        "user-1#queued": 0, "user-1#queued#1": 1, "user-1#in_progress#7": 7, "user-1#completed": 0,
    }  # fmt: skip
    assert {key: partitions.number_in(key) for key in keys} == keys
    assert [key for key in keys if not partitions.is_in_use(key)] == ["user-1#3", "user-1#in_progress#7"]
