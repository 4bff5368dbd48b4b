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

from chalicelib import db
from chalicelib.agents import news
from chalicelib.agents import service as agents
from chalicelib.agents.agent import REMOVED
from chalicelib.errors import Conflict
from chalicelib.log import logger
from chalicelib.outage import Outage
from chalicelib.settings import MINUTE, settings
from chalicelib.tasks import upkeep
from chalicelib.webhooks import delivering
from chalicelib.workflows import gauges, store
from chalicelib.workflows.agents import clear, fell_silent

OUTAGE_AFTER = 3 * MINUTE
"""A longer pause between two sweeps was an outage of our own, for which nobody is declared lost."""

PAGE = 100


@dataclass
class Swept:
    """What one run did, for its log line."""

    tasks: int = 0
    agents: int = 0
    news: int = 0
    deliveries: int = 0
    failures: int = 0
    finished: bool = True
    """False: the time was up before all was looked at; the next run goes on."""


Find = Callable[[int, int, dict[str, Any] | None, int], db.Page]
Look = tuple[str, Find, Callable[[db.Row], bool]]
"""What is counted in `Swept`, where to find what is due of it, and what to do with each."""


def sweep(now: int, time_is_up: Callable[[], bool]) -> Swept:
    """Look at everything that is due, until nothing is left or `time_is_up()`."""
    swept = Swept()
    outage, shards = _begin(now)
    what_moves_tasks: list[Look] = [
        ("agents", agents.due, partial(_check_agent, now=now, outage=outage)),
        ("tasks", upkeep.due, partial(upkeep.take_up, now=now, outage=outage)),
        ("news", news.due, partial(news.take_up, now=now)),
    ]
    webhooks: list[Look] = [("deliveries", delivering.due, partial(delivering.take_up, now=now))]
    for looks in (what_moves_tasks, webhooks):  # in this order: no receiver that is down may hold up a task
        for shard, (kind, find, act) in product(range(shards), looks):
            for key in _due(find, shard, now):
                if time_is_up():
                    return replace(swept, finished=False)
                setattr(swept, kind, getattr(swept, kind) + _carefully(swept, partial(act, key)))
    if not time_is_up():
        _carefully(swept, partial(gauges.note_all, shards, now))
    return swept


def _due(find: Find, shard: int, now: int) -> Iterator[db.Row]:
    """The rows of one shard that are due, page after page."""
    for page in db.pages(lambda start: find(shard, now, start, PAGE)):
        yield from page.rows


def _begin(now: int) -> tuple[Outage | None, int]:
    row = store.start(now, OUTAGE_AFTER)
    if row["shards"] < settings.shards:
        store.widen(settings.shards)
    began, ended = row.get("outageBegan"), row.get("outageEnded")
    outage = None if began is None or ended is None else Outage(began, ended)
    return outage, max(row["shards"], settings.shards)


def _carefully(swept: Swept, act: Callable[[], bool]) -> bool:
    try:
        return act()
    except Conflict:  # it changed meanwhile: whoever changed it gave it a new due time
        return False
    except Exception:  # noqa: BLE001  # one failing item never blocks the rest
        logger.exception("one item could not be taken up; the next run tries again")
        swept.failures += 1
        return False


def _check_agent(key: db.Row, now: int, outage: Outage | None) -> bool:
    """A silent agent becomes inactive and its unstarted claims go back; silent for longer, it loses what it ran.

    A removed one is cleared away, where removing it was interrupted.
    """
    agent = agents.load(key["owner"], key["agent"])
    if agent is None:
        return False
    if agent.state == REMOVED:
        clear(agent, now)
        return True
    return agents.check(agent, now, outage, lambda verdict: fell_silent(agent, verdict, now))
