"""The sweep: a scheduled function that resumes every task, agent, event and delivery that is overdue, every minute.

It reads only sparse indexes of due rows, so its cost grows with the number of overdue rows and not with the size of the
tables. Each row is processed independently, with a conditional write that fails where the row has changed. So an error
with one row never blocks the others, and two sweeps may run at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import service as agents
from chalicelib.agents import status_events
from chalicelib.agents.entities import REMOVED
from chalicelib.core.errors import Conflict
from chalicelib.core.log import logger
from chalicelib.core.outage import Outage
from chalicelib.core.settings import MINUTE, settings
from chalicelib.orchestration import event_publisher, gauges, store
from chalicelib.orchestration.agent_lifecycle import finish_removal, release_from_silent_agent
from chalicelib.tasks import lifecycle, outbox
from chalicelib.webhooks import delivery

OUTAGE_AFTER = 3 * MINUTE
"""A longer pause between two sweeps counts as an outage of the platform, which extends the deadlines of agents and
tasks."""

PAGE_SIZE = 100


@dataclass
class SweepSummary:
    """The fields of one run's log line: how many rows of each kind it changed."""

    tasks: int = 0
    agents: int = 0
    events: int = 0
    """Events of tasks that were published, and agents whose events were published."""
    deliveries: int = 0
    failures: int = 0
    """Rows that could not be processed. The next run retries them."""
    finished: bool = True
    """False where the time was up before all due rows were processed. The next run continues."""


FindDue = Callable[[int, int, dict[str, Any] | None, int], dynamodb.Page]
DueKind = tuple[str, FindDue, Callable[[dynamodb.Row], bool]]
"""A kind of due row: its field in SweepSummary, the function that finds due rows, and the function that processes one
and returns whether it changed anything."""


def run_sweep(now: int, time_is_up: Callable[[], bool]) -> SweepSummary:
    """Process every due row, until none is left or `time_is_up()` returns True. Then record the gauges."""
    summary = SweepSummary()
    outage, shards = _record_start(now)
    task_kinds: list[DueKind] = [
        ("agents", agents.find_due, partial(_check_agent, now=now, outage=outage)),
        ("tasks", lifecycle.find_due, partial(_process_task_row, now=now, outage=outage)),
        ("events", status_events.find_due, partial(_publish_status_events, now=now)),
    ]
    webhook_kinds: list[DueKind] = [("deliveries", delivery.find_due, partial(delivery.resend, now=now))]
    for kinds in (task_kinds, webhook_kinds):  # tasks first, so that a receiver that is down does not delay them
        for shard, (field, find_due, process) in product(range(shards), kinds):
            for key in _due_rows(find_due, shard, now):
                if time_is_up():
                    return replace(summary, finished=False)
                setattr(summary, field, getattr(summary, field) + _run_isolated(summary, partial(process, key)))
    if not time_is_up():
        _run_isolated(summary, partial(gauges.record_gauges, shards, now))
    return summary


def _due_rows(find_due: FindDue, shard: int, now: int) -> Iterator[dynamodb.Row]:
    """The due rows of one shard, page after page."""
    for page in dynamodb.paginate(lambda start: find_due(shard, now, start, PAGE_SIZE)):
        yield from page.rows


def _record_start(now: int) -> tuple[Outage | None, int]:
    """Record that the sweep starts. Returns the last outage, and the number of shards to read."""
    row = store.record_start(now, OUTAGE_AFTER)
    if row["shards"] < settings.shards:
        store.record_shards(settings.shards)
    began, ended = row.get("outageBegan"), row.get("outageEnded")
    outage = None if began is None or ended is None else Outage(began, ended)
    return outage, max(row["shards"], settings.shards)


def _run_isolated(summary: SweepSummary, process: Callable[[], bool]) -> bool:
    try:
        return process()
    except Conflict:  # another process changed the row, and set its new due time
        return False
    except Exception:  # noqa: BLE001  # an error with one row does not block the others
        logger.exception("a row could not be processed; the next sweep retries it")
        summary.failures += 1
        return False


def _process_task_row(row: dynamodb.Row, now: int, outage: Outage | None) -> bool:
    event_keys = outbox.event_keys(row)
    if event_keys is None:
        return lifecycle.process_due(row, now, outage)
    return event_publisher.publish_task_event(*event_keys, now)


def _publish_status_events(row: dynamodb.Row, now: int) -> bool:
    return event_publisher.publish_agent_events(row["owner"], row["agent"], now)


def _check_agent(key: dynamodb.Row, now: int, outage: Outage | None) -> bool:
    """Mark an agent that stopped responding as inactive, and return its claims to the queue. After a longer silence,
    the tasks that it ran are lost. Finish the removal of a removed agent where it was interrupted."""
    agent = agents.load_agent(key["owner"], key["agent"])
    if agent is None:
        return False
    if agent.state == REMOVED:
        finish_removal(agent, now)
        return True
    return agents.check_liveness(agent, now, outage, lambda verdict: release_from_silent_agent(agent, verdict, now))
