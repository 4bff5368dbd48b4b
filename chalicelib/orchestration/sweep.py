"""The scheduled function, every minute: whatever stands still, for whatever reason, is taken up again here.

It reads sparse indexes of what is due and nothing else, so its cost grows with what is stale and not with what
there is. Each item is handled by itself, on the condition that it still is as it was read: one that fails never
blocks the rest, and two sweeps at once do no harm.
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
from chalicelib.orchestration import gauges, store
from chalicelib.orchestration.agent_lifecycle import finish_removal, release_from_silent_agent
from chalicelib.tasks import lifecycle
from chalicelib.webhooks import delivery

OUTAGE_AFTER = 3 * MINUTE
"""A longer pause between two sweeps was an outage of our own, for which nobody is declared lost."""

PAGE_SIZE = 100


@dataclass
class SweepSummary:
    """What one run did, for its log line."""

    tasks: int = 0
    agents: int = 0
    news: int = 0
    deliveries: int = 0
    failures: int = 0
    finished: bool = True
    """False: the time was up before all was looked at; the next run goes on."""


FindDue = Callable[[int, int, dict[str, Any] | None, int], dynamodb.Page]
DueKind = tuple[str, FindDue, Callable[[dynamodb.Row], bool]]
"""What is counted in `Swept`, where to find what is due of it, and what to do with each."""


def run_sweep(now: int, time_is_up: Callable[[], bool]) -> SweepSummary:
    """Look at everything that is due, until nothing is left or `time_is_up()`."""
    swept = SweepSummary()
    outage, shards = _record_start(now)
    what_moves_tasks: list[DueKind] = [
        ("agents", agents.find_due, partial(_check_agent, now=now, outage=outage)),
        ("tasks", lifecycle.find_due, partial(lifecycle.process_due, now=now, outage=outage)),
        ("news", status_events.find_due, partial(status_events.resend, now=now)),
    ]
    webhooks: list[DueKind] = [("deliveries", delivery.find_due, partial(delivery.resend, now=now))]
    for looks in (what_moves_tasks, webhooks):  # in this order: no receiver that is down may hold up a task
        for shard, (kind, find, act) in product(range(shards), looks):
            for key in _due_rows(find, shard, now):
                if time_is_up():
                    return replace(swept, finished=False)
                setattr(swept, kind, getattr(swept, kind) + _run_isolated(swept, partial(act, key)))
    if not time_is_up():
        _run_isolated(swept, partial(gauges.record_gauges, shards, now))
    return swept


def _due_rows(find: FindDue, shard: int, now: int) -> Iterator[dynamodb.Row]:
    """The rows of one shard that are due, page after page."""
    for page in dynamodb.paginate(lambda start: find(shard, now, start, PAGE_SIZE)):
        yield from page.rows


def _record_start(now: int) -> tuple[Outage | None, int]:
    row = store.record_start(now, OUTAGE_AFTER)
    if row["shards"] < settings.shards:
        store.record_shards(settings.shards)
    began, ended = row.get("outageBegan"), row.get("outageEnded")
    outage = None if began is None or ended is None else Outage(began, ended)
    return outage, max(row["shards"], settings.shards)


def _run_isolated(swept: SweepSummary, act: Callable[[], bool]) -> bool:
    try:
        return act()
    except Conflict:  # it changed meanwhile: whoever changed it gave it a new due time
        return False
    except Exception:  # noqa: BLE001  # one failing item never blocks the rest
        logger.exception("one item could not be taken up; the next run tries again")
        swept.failures += 1
        return False


def _check_agent(key: dynamodb.Row, now: int, outage: Outage | None) -> bool:
    """A silent agent becomes inactive and its unstarted claims go back; silent for longer, it loses what it ran.

    A removed one is cleared away, where removing it was interrupted.
    """
    agent = agents.load_agent(key["owner"], key["agent"])
    if agent is None:
        return False
    if agent.state == REMOVED:
        finish_removal(agent, now)
        return True
    return agents.check_liveness(agent, now, outage, lambda verdict: release_from_silent_agent(agent, verdict, now))
