"""Over which partition keys the open tasks of one owner are spread in the indexes `by_status` and `queue`. No I/O.

One partition key takes 1,000 writes a second, and each task is put into and deleted from these keys. So the setting
`team_partitions` spreads the tasks of an owner over up to eight partitions. A task's partition depends on its id only.

Partition 0 has the keys of a stage with one partition, so rows of such a stage stay readable. The keys of the others
have the suffix `#<number>`. No other key ends like this: no status is a number, and `#` occurs neither in the id of an
owner nor in that of an agent.

The queues of tasks that are pinned to an agent are not spread, because no agent runs hundreds of tasks a second. Nor
are the ended tasks, because each is put into `by_status` only once.
"""

import hashlib

from chalicelib.core.settings import settings
from chalicelib.tasks.entities import OPEN_STATUSES, TaskStatus


def suffix(task_id: str) -> str:
    """The suffix of the keys of a task. It is the same on every machine and in every version."""
    if settings.team_partitions == 1:
        return ""
    return _suffix(int.from_bytes(hashlib.blake2s(task_id.encode()).digest()[4:8]) % settings.team_partitions)


def suffixes() -> list[str]:
    """The suffixes of all partitions that are in use."""
    return [_suffix(number) for number in range(settings.team_partitions)]


def _suffix(number: int) -> str:
    return f"#{number}" if number else ""


def status_key(owner: str, task_id: str, status: TaskStatus) -> str:
    """The key of a task in the index `by_status`."""
    return f"{owner}#{status}{suffix(task_id) if status in OPEN_STATUSES else ''}"


def status_keys(owner: str, status: TaskStatus) -> list[str]:
    """The keys of the index `by_status` that have the tasks of an owner in this status."""
    return [f"{owner}#{status}{each}" for each in (suffixes() if status in OPEN_STATUSES else [""])]


def queue_key(owner: str, task_id: str, pinned_agent_id: str | None) -> str:
    """The queue in which a task waits: its owner's, or that of the agent to which it is pinned."""
    return f"{owner}@{pinned_agent_id}" if pinned_agent_id is not None else owner + suffix(task_id)


def queue_keys(owner: str) -> list[str]:
    """The queues that have the tasks of an owner that are not pinned."""
    return [owner + each for each in suffixes()]


def number_in(key: str) -> int:
    """The number of the partition to which a key of `by_status` or `queue` belongs."""
    first, _, number = key.rpartition("#")
    return int(number) if first and number.isdecimal() else 0


def is_in_use(key: str) -> bool:
    """Whether the queries of an owner's tasks read this key. They do not if the setting was larger before."""
    return number_in(key) < settings.team_partitions
