"""Finds queued tasks for an agent whose rules admit only some of them (`repos`, `submitters`).

The index of queued tasks has neither their repository nor their submitter, so each page of it is followed by a read of
the heads of its tasks. A poll reads at most MAX_PAGES pages of a queue. If the queue is longer, the agent's row records
where the search ended, and the next poll continues there, up to the end of the queue and then from its beginning. So an
admitted task is found after a bounded number of polls, however many other tasks wait before it.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from chalicelib.agents.entities import Agent
from chalicelib.agents.rules import rejection
from chalicelib.tasks.entities import Task
from chalicelib.tasks.queue_store import BEGINNING, END, QueuePage, intent_at, read_queue

PAGE_SIZE = 50
"""The rows of a page. Their heads are read in one request."""
MAX_PAGES = 4
"""How many pages of a queue a poll reads at most, with two requests each."""
MIN_PAGES = 2
"""How many pages of each queue a poll reads at most if tasks are spread over several queues: the first, and another."""
_MAX_OTHER_INTENTS = 2
"""How many of these pages are the first ones of other intents than that of the first page."""


class Found(NamedTuple):
    """What a search found."""

    tasks: list[Task]
    """Queued tasks that the agent's rules admit, in no particular order."""
    position: str | None
    """Where the next search continues. None: after the first page of the queue."""
    is_empty: bool = False
    """Whether the searched part of the queue has no task at all."""


def search(agent: Agent, queue: str, enough: int, position: str | None, *, whole: bool, pages: int) -> Found:
    """Search a queue for tasks of the agent's intents that its rules admit. At most two requests for each page.

    It always reads the beginning of the queue and, if the queue is long, the first tasks of up to two other intents,
    because they may be more urgent. If it has then found fewer than `enough` tasks, it continues at `position`.
    The queue is searched from the first to the last intent of the agent. `whole`: from its beginning to its end.
    """
    intents = sorted(agent.capabilities)
    first, last = (BEGINNING, END) if whole else (intents[0], intents[-1])
    found: dict[str, Task] = {}

    def read(start: str, end: str) -> QueuePage:
        page = read_queue(agent.owner, queue, intents, start, end, PAGE_SIZE)
        admitted = [task for task in page.tasks if rejection(agent, task.repo or "", task.submitter) is None]
        found.update((task.id, task) for task in admitted)
        return page

    first_page = read(first, last)
    if first_page.end is None:
        return Found([*found.values()], None, first_page.is_empty)
    others = [intent for intent in intents if intent > intent_at(first_page.end)]
    heads = random.sample(others, min(len(others), _MAX_OTHER_INTENTS, pages - 2))  # to spread, not to hide
    for intent in heads:
        read(intent, intent)
    # A position before the end of the first page, or after the last intent, is that of an earlier search.
    if position is not None and not (position > first_page.end and intent_at(position) <= last):
        position = None
    start = position or _skip_to_intent(first_page.end, intents)
    for _ in range(pages - 1 - len(heads)):
        if start is None or len(found) >= enough:
            break
        end = read(start, last).end
        position = start = None if end is None else _skip_to_intent(end, intents)
    return Found([*found.values()], position)


def _skip_to_intent(position: str, intents: Sequence[str]) -> str | None:
    """The position, or the first one after it that has one of the intents (sorted). None if there is none."""
    if intent_at(position) in intents:
        return position
    return next((intent for intent in intents if intent > intent_at(position)), None)
