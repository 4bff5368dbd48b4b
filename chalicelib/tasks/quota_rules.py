"""The rules of an owner's quotas: how many tasks may be open, and what may be submitted and stored in a day. No I/O.

Usage is counted in SHARDS rows of each owner, so that no row is written by every task. A task is always counted in the
same row. While a row has used less than its share of each limit, that row alone decides. Otherwise the sum of all rows
does. A limit may be exceeded by two percent, or by SHARDS tasks if that is more.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from chalicelib.core.errors import RateLimited
from chalicelib.core.settings import DAY, KB, MINUTE, SECOND
from chalicelib.tasks.entities import Task, TaskStatus

SHARDS = 16
"""How many rows an owner's usage is counted in. Fixed, because it decides in which row a task is counted."""

RECOUNT_INTERVAL = MINUTE
"""The least time between two recounts of an owner's open tasks."""
RECOUNT_AFTER = 7 * DAY
"""The open tasks are recounted after this time even if the limit does not seem to be reached."""

COUNTED_STATUSES: tuple[TaskStatus, ...] = ("pending", "queued", "assigned", "in_progress")
"""The statuses of open tasks, in the order in which a recount reads them.

It is the order in which a task passes through them. So a task that changes meanwhile is rather counted twice than not.
"""

_MIN_PART = 100
_MIN_BYTES_PART = 16 * 1024 * KB
"""Sixty-four rows of the largest size. Below that, a few tasks decide how evenly bytes are spread."""

LOG_BLOCK = 256 * KB
"""While a task is open, its log is counted whenever it fills a further block of this size."""
FINAL_LOG_BLOCK = 16 * KB
"""When a task has ended, its log is counted as a multiple of this size, rounded up."""


class TooManyOpenTasks(RateLimited):
    """The user has the maximum number of open tasks. Wait until some of them end, or cancel some."""

    title = "Too many open tasks"

    def __init__(self, maximum: int) -> None:
        super().__init__(
            f"You have {maximum} open tasks, which is the maximum. Wait until some of them end, or cancel some.", 60
        )


class DailyQuotaReached(RateLimited):
    """A quota of the day is used up. Wait until midnight UTC, when the next day begins."""

    title = "Daily quota reached"

    def __init__(self, used: str, now: int) -> None:
        super().__init__(
            f"You have {used}, which is the quota of a day. The next day begins at midnight UTC.",
            (DAY - now % DAY + SECOND - 1) // SECOND,
        )


class Usage(NamedTuple):
    """What is counted: in one row, or in all rows of an owner. `tasks` and `bytes` are those of one day."""

    open: int = 0
    tasks: int = 0
    bytes: int = 0


class CountedUsage(NamedTuple):
    """One row: its usage, the day to which `tasks` and `bytes` belong, and when the open tasks were recounted."""

    usage: Usage = Usage()
    day: int = 0
    recounted_at: int | None = None
    """When the last recount began. It does not contain the tasks that had ended by then."""
    counted_at: int | None = None
    """When the last complete recount began. Only the first row has it."""

    def on(self, today: int) -> Usage:
        """The usage on a day. What was counted on an earlier day does not belong to it."""
        return self.usage if self.day == today else Usage(open=self.usage.open)

    def today(self, now: int) -> int:
        """The day of a write. It is never earlier than the row's, because clocks may differ around midnight."""
        return max(day(now), self.day)


def shard(task_id: str) -> int:
    """The row that counts a task. It is the same on every machine and in every version."""
    return hashlib.blake2s(task_id.encode()).digest()[0] % SHARDS


def day(now: int) -> int:
    """The day in UTC, counted from 1970-01-01."""
    return now // DAY


def share(limits: Usage) -> Usage | None:
    """The part of the limits that one row may use without reading the others. None if there is no such part.

    When the sum of the rows reaches a limit, other rows may not have used their share, and go on to use it. How much
    that is depends on how evenly tasks are spread. Nine tenths of an equal part, which is at least a hundred tasks,
    leave less than two percent.
    """
    part = Usage(*(limit // SHARDS for limit in limits))
    if min(part.open, part.tasks) < _MIN_PART or bytes_share(limits.bytes) == 0:
        return None
    return Usage(part.open * 9 // 10, part.tasks * 9 // 10, bytes_share(limits.bytes))


def bytes_share(limit: int) -> int:
    """The bytes that one row may count without reading the others."""
    part = limit // SHARDS
    return 0 if part < _MIN_BYTES_PART else part * 9 // 10


def total(rows: Iterable[Usage]) -> Usage:
    return Usage(*(sum(values) for values in zip(Usage(), *rows, strict=True)))


def check_limits(used: Usage, limits: Usage, now: int) -> None:
    """Raise TooManyOpenTasks or DailyQuotaReached if no further task may be accepted."""
    if used.open >= limits.open:
        raise TooManyOpenTasks(limits.open)
    if used.tasks >= limits.tasks:
        raise DailyQuotaReached(f"submitted {limits.tasks} tasks today", now)
    if used.bytes >= limits.bytes:
        raise DailyQuotaReached(f"stored {limits.bytes} bytes today", now)


def bounds(row: Usage, used: Usage, limits: Usage) -> Usage:
    """The values that a row must not have reached when it counts a further task. `used` is the sum of all rows.

    Each row may use an equal part of what is left, and at least one task. So all rows together exceed a limit by less
    than SHARDS, however many tasks are submitted at the same moment.
    """
    return Usage(*(own + max(1, (limit - sum_) // SHARDS) for own, sum_, limit in zip(row, used, limits, strict=True)))


def needs_recount(first_row: CountedUsage, now: int) -> bool:
    """Whether the open tasks were never counted, or not for so long that errors may have added up."""
    return first_row.counted_at is None or now - first_row.counted_at >= RECOUNT_AFTER


def remaining(change: Usage, row: CountedUsage, since: int) -> Usage:
    """What a write still has to count if a recount began after the task had ended, at `since`."""
    is_recounted = row.recounted_at is not None and row.recounted_at >= since
    return change._replace(open=0) if is_recounted else change


def corrections(counted: int, recorded: int, maximum: int, *, is_first: bool) -> list[int]:
    """What to add to the open tasks of each row, so that their sum becomes `counted`.

    Counting stops at `maximum`. Then there may be more tasks than counted, so the sum is not reduced. Nor is it in the
    first recount of an owner, before which no count can have been lost: what the rows have counted and the index does
    not contain are tasks that are being accepted.
    """
    difference = counted - recorded
    if counted >= maximum or is_first:
        difference = max(0, difference)
    each, rest = divmod(difference, SHARDS)
    return [each + (number < rest) for number in range(SHARDS)]


def counted_log_bytes(task: Task) -> int:
    """How many bytes of a task's log are counted, all attempts together."""
    written = task.earlier_log_bytes + task.log_bytes
    if task.is_open:
        return written // LOG_BLOCK * LOG_BLOCK
    return -(-written // FINAL_LOG_BLOCK) * FINAL_LOG_BLOCK


def uncounted_log_bytes(task: Task) -> int:
    """How many bytes of the log of a task that has ended were not counted while it was open."""
    return counted_log_bytes(task) - (task.earlier_log_bytes + task.log_bytes) // LOG_BLOCK * LOG_BLOCK
