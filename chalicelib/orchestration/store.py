"""Queries and conditional writes on the sweep's own row in the table `tasks`."""

from typing import Any

from chalicelib import dynamodb
from chalicelib.core.outage import Outage
from chalicelib.core.settings import settings
from chalicelib.orchestration.tables import SweepRow


def record_start(now: int, gap: int) -> dynamodb.Row:
    """Record that a sweep starts. Record an outage too if the last sweep started more than `gap` milliseconds ago.

    One write records both, so that no outage is missed where two sweeps overlap or a sweep dies. Returns the row.
    """
    start = [dynamodb.set_value(SweepRow.last_at, now), _keep_or_set_shards(settings.shards)]
    recent = dynamodb.not_exists(SweepRow.last_at) | dynamodb.at_least(SweepRow.last_at, now - gap)
    try:
        return dynamodb.update_item(_row(), start, recent)
    except dynamodb.ConditionFailed as failed:
        began = (failed.row or {}).get("lastAt", now)
    try:
        outage = dynamodb.set_or_remove(SweepRow, {"outage_began": began, "outage_ended": now})
        return dynamodb.update_item(_row(), [*start, *outage], dynamodb.equals(SweepRow.last_at, began))
    except dynamodb.ConditionFailed:
        return dynamodb.update_item(_row(), start)


def load_outage() -> Outage | None:
    """The last outage that a sweep has recorded."""
    return to_outage(dynamodb.get_item(SweepRow, "~sweep", "~sweep") or {})


def to_outage(row: dynamodb.Row) -> Outage | None:
    """The last outage in the sweep's row."""
    began, ended = row.get("outageBegan"), row.get("outageEnded")
    return None if began is None or ended is None else Outage(began, ended)


def record_shards(shards: int) -> None:
    """Record the largest number of shards ever used, so that rows in higher shards are found after it is lowered."""
    try:
        actions = [dynamodb.set_value(SweepRow.shards, shards)]
        dynamodb.update_item(_row(), actions, dynamodb.less_than(SweepRow.shards, shards))
    except dynamodb.ConditionFailed:
        return


def record_partitions(partitions: int) -> None:
    """Record that open tasks may be in this many partitions, if no larger number is recorded."""
    not_larger = dynamodb.not_exists(SweepRow.partitions) | dynamodb.at_most(SweepRow.partitions, partitions)
    _save_partitions(partitions, not_larger)


def record_moves(until: int) -> None:
    """Record until when, at least, the sweep looks for tasks in partitions that are not in use any more."""
    dynamodb.update_item(_row(), [dynamodb.set_value(SweepRow.moves_until, until)])


def finish_moves(before: int, partitions: int) -> None:
    """Record that all open tasks are in the first `partitions` of `before` partitions."""
    _save_partitions(partitions, dynamodb.equals(SweepRow.partitions, before))


def _save_partitions(partitions: int, condition: dynamodb.Clause) -> None:
    actions = [dynamodb.set_value(SweepRow.partitions, partitions), dynamodb.remove(SweepRow.moves_until)]
    try:
        dynamodb.update_item(_row(), actions, condition)
    except dynamodb.ConditionFailed:
        return


@dynamodb.clause
def _keep_or_set_shards(shards: int) -> Any:
    return [SweepRow.shards.set(SweepRow.shards | shards)]


def _row() -> dynamodb.Item:
    return dynamodb.item(SweepRow, pk="~sweep", sk="~sweep")
