"""Quotas of an owner: counts what is submitted and stored, and rejects what exceeds a limit.

A task is counted before the transaction that accepts it, and no longer counted after its end is published. If a
process crashes in between, the count of open tasks is too high. It is never too low. When the limit seems to be
reached, the open tasks are recounted from the index.
"""

import uuid
from contextlib import suppress

from chalicelib import dynamodb
from chalicelib.auth import service as auth
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import settings
from chalicelib.tasks import list_store, quota_rules, quota_store
from chalicelib.tasks.quota_rules import CountedUsage, Usage

_MAX_TRIES = 8


def count_task(owner: str, task_id: str, size: int, now: int) -> CountedUsage:
    """Count a task with a body of `size` bytes, before it is accepted. One request, unless a limit may be reached.

    Returns the row that counts it now. Raises TooManyOpenTasks, DailyQuotaReached, and Unavailable if too many tasks
    are counted at the same moment.
    """
    limits, shard, change, write_id = _limits(), quota_rules.shard(task_id), Usage(1, 1, size), uuid.uuid4().hex
    share = quota_rules.share(limits)
    if share is not None:
        expected = CountedUsage(day=quota_rules.day(now))
        with suppress(dynamodb.ConditionFailed):
            return quota_store.save(owner, shard, expected, change, write_id, now, quota_store.below(share))
    for _ in range(_MAX_TRIES):
        rows = quota_store.load_all(owner)
        used = _used(rows, now)
        if (quota_rules.needs_recount(rows[0], now) or used.open >= limits.open) and _recount(owner, rows[0], now):
            continue
        quota_rules.check_limits(used, limits, now)
        row = rows[shard]
        bounds = quota_rules.bounds(row.on(row.today(now)), used, limits)
        same_day = row.day == row.today(now)
        condition = quota_store.below(bounds) if same_day else quota_store.open_below(bounds.open)
        with suppress(dynamodb.ConditionFailed):
            return quota_store.save(owner, shard, row, change, write_id, now, condition)
    raise Unavailable


def uncount_task(owner: str, task_id: str, size: int, counted: CountedUsage, now: int) -> None:
    """Undo `count_task`, which returned `counted`, because the task was not accepted.

    Any recount that began since then has not found the task, and has uncounted it already.
    """
    _add_if_possible(owner, task_id, Usage(-1, -1, -size), (counted.recounted_at or 0) + 1, now)


def count_end(owner: str, task_id: str, size: int, ended_at: int, now: int) -> None:
    """Count the end of a task, and the bytes that it stored besides those that are counted already."""
    _add_if_possible(owner, task_id, Usage(-1, 0, size), ended_at, now)


def count_bytes(owner: str, task_id: str, size: int, now: int) -> bool:
    """Count bytes of a task before they are stored. False if the quota of the day is used up; then nothing changes.

    One request, unless the quota may be used up.
    """
    limit, shard, change = settings.bytes_per_day, quota_rules.shard(task_id), Usage(bytes=size)
    expected = CountedUsage(day=quota_rules.day(now))
    condition = quota_store.bytes_below(quota_rules.bytes_share(limit))
    try:
        quota_store.save(owner, shard, expected, change, uuid.uuid4().hex, now, condition)
    except dynamodb.ConditionFailed:
        if _used(quota_store.load_all(owner), now).bytes >= limit:
            return False
        _add(owner, shard, change, now, now)
    return True


def _add_if_possible(owner: str, task_id: str, change: Usage, since: int, now: int) -> None:
    """Like `_add`. If DynamoDB does not accept the write, the count stays too high until the next recount."""
    try:
        _add(owner, quota_rules.shard(task_id), change, since, now)
    except Unavailable:
        logger.warning("a task that is not open any more is still counted", extra={"task": task_id})


def _add(owner: str, shard: int, change: Usage, since: int, now: int) -> None:
    """Add to a row. Open tasks are not added if they were recounted at `since` or later."""
    row, write_id = CountedUsage(day=quota_rules.day(now)), uuid.uuid4().hex
    for _ in range(_MAX_TRIES):
        try:
            condition = quota_store.not_recounted_since(since) if change.open else None
            quota_store.save(owner, shard, row, change, write_id, now, condition)
        except dynamodb.ConditionFailed as failed:
            row = quota_store.to_usage(failed.row)
            change = quota_rules.remaining(change, row, since)
            if any(change):
                continue
        return
    raise Unavailable


def _recount(owner: str, first_row: CountedUsage, now: int) -> bool:
    """Count the open tasks of an owner in the index, and correct the rows. False if this was done a moment ago.

    From the first write on, the end of a task that had ended before is not counted any more. So it does not matter how
    many of these ends are not published yet. Tasks that are accepted or end during the recount may be counted wrongly.
    """
    write_id, maximum = uuid.uuid4().hex, settings.open_tasks_per_user
    not_lately = quota_store.not_recounted_since(now - quota_rules.RECOUNT_INTERVAL)
    try:
        rows = [quota_store.start_recount(owner, 0, write_id, now, not_lately)]
    except dynamodb.ConditionFailed:
        return False
    rows += [quota_store.start_recount(owner, shard, write_id, now, None) for shard in range(1, quota_rules.SHARDS)]
    counted = 0
    for status in quota_rules.COUNTED_STATUSES:
        if counted < maximum:
            counted += list_store.count_tasks(owner, status, maximum - counted)
    recorded = quota_rules.total(row.usage for row in rows).open
    is_first = first_row.counted_at is None
    first, *others = quota_rules.corrections(counted, recorded, maximum, is_first=is_first)
    write_id = uuid.uuid4().hex
    for shard, difference in enumerate(others, 1):
        if difference:
            quota_store.correct(owner, shard, difference, write_id, now)
    if is_first:
        auth.clear_open_tasks(owner)
    quota_store.finish_recount(owner, first, write_id, now)
    return True


def _used(rows: list[CountedUsage], now: int) -> Usage:
    """The usage of an owner today."""
    return quota_rules.total(row.on(row.today(now)) for row in rows)


def _limits() -> Usage:
    return Usage(settings.open_tasks_per_user, settings.tasks_per_day, settings.bytes_per_day)
