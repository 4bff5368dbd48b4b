"""The sweep: a scheduled function that resumes every task, agent, event and delivery that is overdue, every minute.

It reads only sparse indexes of due rows, so its cost grows with the number of overdue rows and not with the size of the
tables. Each kind and each shard gets a share of the time. What does not fit is handed out to other processes
(`sweep_backlog`), so the throughput grows with the number of shards. Two sweeps may run at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from chalicelib import dynamodb
from chalicelib.core.log import logger
from chalicelib.core.settings import HOUR, MINUTE, SECOND, settings
from chalicelib.orchestration import due_work, gauges, store, sweep_backlog
from chalicelib.orchestration.due_work import KINDS, MOVES, DueWork, Kind, TimeLeft, Visit, WorkResult

OUTAGE_AFTER = 3 * MINUTE
"""A longer pause between two sweeps counts as an outage of the platform, which extends the deadlines of agents and
tasks."""

MOVES_FOR = HOUR
"""How long the sweep looks for tasks in partitions that are not in use any more, after the number of partitions was
lowered and after the last such task was found. Functions with the old setting may run for a while."""

OWN_TIME = 20 * SECOND
"""How long the sweep itself works on due rows. The other processes that take over need most of the minute."""


@dataclass
class SweepSummary:
    """The fields of one run's log line: how many rows of each kind it changed."""

    tasks: int = 0
    agents: int = 0
    deliveries: int = 0
    events: int = 0
    """Events of tasks that were published, and agents whose events were published."""
    moves: int = 0
    """Tasks that were moved to a partition that is in use."""
    failures: int = 0
    """Rows that could not be processed. The next run retries them."""
    unread: int = 0
    """Indexes that could not be read. The next run reads them."""
    handed_out: int = 0
    """The number of kinds and shards that were handed out to other processes."""
    finished: bool = True
    """False if due rows were left, for other processes or for the next run."""

    def add(self, kind: Kind, result: WorkResult) -> None:
        setattr(self, kind, getattr(self, kind) + result.changed)
        self.failures += result.failures
        self.unread += result.unread


def run_sweep(now: int, time_left: TimeLeft) -> SweepSummary:
    """Process every due row for which there is time, and hand out the rest. Then record the gauges."""
    summary = SweepSummary()
    row = _record_start(now)
    shards, partitions = max(row["shards"], settings.shards), row.get("partitions", 1)
    is_moving = partitions > settings.team_partitions
    kinds = (*KINDS, MOVES) if is_moving else KINDS
    visit = Visit(now, store.to_outage(row))
    first = now // MINUTE  # each run begins with another shard
    works = [DueWork(kind, (first + number) % shards) for kind, number in product(kinds, range(shards))]
    kept: list[DueWork] = []
    for work in _process_in_turn(works, visit, summary, time_left, reserve=max(0, time_left() - OWN_TIME)):
        if sweep_backlog.hand_out(work, until=now + MINUTE):
            summary.handed_out += 1
        else:
            kept.append(work)
    left = list(_process_in_turn(kept, visit, summary, time_left, reserve=0))
    summary.finished = not (left or summary.handed_out)
    if is_moving:
        _record_moves(partitions, row.get("movesUntil"), summary, now)
    if time_left() > 0:
        _record_gauges(shards, now, summary)
    return summary


def _process_in_turn(
    works: Sequence[DueWork], visit: Visit, summary: SweepSummary, time_left: TimeLeft, reserve: int
) -> Iterator[DueWork]:
    """Process each kind and shard in its share of the time, except for `reserve` milliseconds. Yields the unfinished.

    The shares are equal. What one does not need is distributed over the later ones.
    """
    for number, work in enumerate(works):
        begins = time_left()
        share = max(0, begins - reserve) // (len(works) - number)
        result = due_work.process(work, visit, time_left, begins - share)
        summary.add(work.kind, result)
        if not result.finished:
            yield work


def _record_start(now: int) -> dynamodb.Row:
    """Record that the sweep starts, and larger numbers of shards and partitions than before. Returns the sweep's row
    without these numbers."""
    row = store.record_start(now, OUTAGE_AFTER)
    if row["shards"] < settings.shards:
        store.record_shards(settings.shards)
    partitions = row.get("partitions", 1)
    if partitions < settings.team_partitions or (partitions == settings.team_partitions and "movesUntil" in row):
        store.record_partitions(settings.team_partitions)
    return row


def _record_moves(partitions: int, until: int | None, summary: SweepSummary, now: int) -> None:
    """Record that tasks were in partitions that are not in use any more or, after long enough, that none is."""
    if until is None or summary.moves:
        store.record_moves(now + MOVES_FOR)
    elif now >= until and summary.finished and not summary.failures and not summary.unread:
        store.finish_moves(partitions, settings.team_partitions)


def _record_gauges(shards: int, now: int, summary: SweepSummary) -> None:
    try:
        gauges.record_gauges(shards, now)
    except Exception:  # noqa: BLE001  # metrics that are missing for a minute are no failure of the sweep
        logger.exception("the gauges could not be recorded")
        summary.failures += 1
