"""Queries and conditional writes of the rows that count an owner's usage.

Every write is a plain one. Plain writes to one row do not conflict with each other, as transactions do.

A write has an id, which the row stores. If the response of a write is lost, the write is sent again. Then the
row has that id, the condition is false, and the write is not applied twice. If another write came in between, it is
applied twice, and the count is wrong by one until the next recount.
"""

from typing import Any

from chalicelib import dynamodb
from chalicelib.core.settings import DAY
from chalicelib.tasks.quota_rules import SHARDS, CountedUsage, Usage, day
from chalicelib.tasks.tables import USAGE, UsageRow, usage_key

KEPT_DAYS = 60
"""How many days a row is stored after its last write. No task is open for so long."""


def load_all(owner: str) -> list[CountedUsage]:
    """The rows of an owner, by shard. A row that does not exist has counted nothing. One request."""
    keys = [(usage_key(owner, shard), USAGE) for shard in range(SHARDS)]
    found = {row["pk"]: row for row in dynamodb.batch_get(UsageRow, keys, consistent=True)}
    return [to_usage(found.get(key)) for key, _ in keys]


def save(
    owner: str, shard: int, row: CountedUsage, change: Usage, write_id: str, now: int, condition: dynamodb.Clause | None
) -> CountedUsage:
    """Add to a row, which is expected to count the day of `row`, on a further condition. Returns the row.

    On the first write of a day the counts of the day begin again. Raises ConditionFailed.
    """
    today = row.today(now)
    actions = [dynamodb.add(UsageRow.open, change.open)]
    if row.day == today:
        expectation = dynamodb.equals(UsageRow.day, today)
        actions += [dynamodb.add(UsageRow.tasks, change.tasks), dynamodb.add(UsageRow.bytes, change.bytes)]
    else:
        expectation = dynamodb.not_exists(UsageRow.day) | dynamodb.less_than(UsageRow.day, today)
        actions += [
            dynamodb.set_value(UsageRow.day, today),
            dynamodb.set_value(UsageRow.tasks, max(0, change.tasks)),
            dynamodb.set_value(UsageRow.bytes, max(0, change.bytes)),
        ]
    condition = expectation if condition is None else expectation & condition
    return to_usage(_update(owner, shard, actions, write_id, now, condition))


def below(limits: Usage) -> dynamodb.Clause:
    """A condition: the row has not reached any of these values."""
    return (
        dynamodb.less_than(UsageRow.open, limits.open)
        & dynamodb.less_than(UsageRow.tasks, limits.tasks)
        & dynamodb.less_than(UsageRow.bytes, limits.bytes)
    )


def bytes_below(limit: int) -> dynamodb.Clause:
    """A condition: the row has counted fewer bytes."""
    return dynamodb.less_than(UsageRow.bytes, limit)


def open_below(limit: int) -> dynamodb.Clause:
    """A condition: the row counts fewer open tasks, or does not exist."""
    return dynamodb.not_exists(UsageRow.open) | dynamodb.less_than(UsageRow.open, limit)


def not_recounted_since(at: int) -> dynamodb.Clause:
    """A condition: no recount began at `at` or later."""
    return dynamodb.not_exists(UsageRow.recounted_at) | dynamodb.less_than(UsageRow.recounted_at, at)


def start_recount(owner: str, shard: int, write_id: str, now: int, condition: dynamodb.Clause | None) -> CountedUsage:
    """Store that a recount begins, and return the row. Creates it if it does not exist. Raises ConditionFailed."""
    actions = [dynamodb.set_value(UsageRow.recounted_at, now), _create(day(now))]
    return to_usage(_update(owner, shard, actions, write_id, now, condition))


@dynamodb.clause
def _create(today: int) -> Any:
    row = UsageRow
    return [row.day.set(row.day | today), *(count.set(count | 0) for count in (row.open, row.tasks, row.bytes))]


def correct(owner: str, shard: int, difference: int, write_id: str, now: int) -> None:
    """Add to the open tasks of a row."""
    _update(owner, shard, [dynamodb.add(UsageRow.open, difference)], write_id, now, None)


def finish_recount(owner: str, difference: int, write_id: str, now: int) -> None:
    """Add to the open tasks of the first row, and store that the recount which began at `now` is complete."""
    actions = [dynamodb.add(UsageRow.open, difference), dynamodb.set_value(UsageRow.counted_at, now)]
    _update(owner, 0, actions, write_id, now, None)


def _update(
    owner: str,
    shard: int,
    actions: list[dynamodb.Clause],
    write_id: str,
    now: int,
    condition: dynamodb.Clause | None,
) -> dynamodb.Row:
    key = dynamodb.item(UsageRow, pk=usage_key(owner, shard), sk=USAGE)
    actions += [
        dynamodb.set_value(UsageRow.write_id, write_id),
        dynamodb.set_value(UsageRow.expires_at, (now + KEPT_DAYS * DAY) // 1_000),
    ]
    not_applied = dynamodb.not_equals(UsageRow.write_id, write_id)
    try:
        return dynamodb.update_item(key, actions, not_applied if condition is None else not_applied & condition)
    except dynamodb.ConditionFailed as failed:
        if failed.row is not None and failed.row.get("writeId") == write_id:
            return failed.row  # an earlier try was applied, and its response was lost
        raise


def to_usage(row: dict[str, Any] | None) -> CountedUsage:
    if row is None:
        return CountedUsage()
    usage = Usage(row["open"], row.get("tasks", 0), row.get("bytes", 0))
    return CountedUsage(usage, row.get("day", 0), row.get("recountedAt"), row.get("countedAt"))
