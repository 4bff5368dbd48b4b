"""The sweep's work: the due rows of one kind in one shard, processed by a bounded number of threads.

Each row is processed independently, with a conditional write that fails where the row has changed. So an error with one
row never blocks the others, and two processes may work on the same rows at once.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple, get_args

from chalicelib import dynamodb
from chalicelib.agents import service as agents
from chalicelib.agents import status_events
from chalicelib.agents.entities import REMOVED
from chalicelib.core.errors import Conflict
from chalicelib.core.log import logger
from chalicelib.core.outage import Outage
from chalicelib.core.threads import run_concurrently
from chalicelib.orchestration import event_publisher
from chalicelib.orchestration.agent_lifecycle import finish_removal, release_from_silent_agent
from chalicelib.tasks import lifecycle, outbox
from chalicelib.webhooks import delivery

Kind = Literal["tasks", "agents", "deliveries", "events", "moves"]
MOVES: Kind = "moves"
"""Tasks in partitions that are not in use any more. They are looked for only after the number of partitions was
lowered."""

KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != MOVES)
"""The kinds of every run, in the order in which the sweep processes them: deadlines come before events.

Deadlines of tasks, silent and removed agents, deliveries whose message is to be sent, and unpublished events of tasks
and agents. Deliveries come after tasks, so that a receiver that is down does not delay them.
"""

CONCURRENCY = 8
"""How many rows are processed at the same time. A row takes two to four requests, one after the other.

botocore keeps ten connections for each client. More threads would also conflict with each other more often, because
neighbouring rows often belong to one agent or one user.
"""

PAGE_SIZE = 100
FILTERED_PAGE_SIZE = 1_000
"""How many rows a page examines that contains only the tasks, or only the events, of an index with both."""

TimeLeft = Callable[[], int]
"""Returns the milliseconds until the process must stop. 0 or less: it must stop now."""

Outcome = Literal["changed", "unchanged", "failed", "unreached", "more"]
"""What happened to a row. `more`: it needs another visit."""


class DueWork(NamedTuple):
    """The due rows of one kind in one shard."""

    kind: Kind
    shard: int


class Visit:
    """What one run knows about all of its rows."""

    def __init__(self, now: int, outage: Outage | None) -> None:
        self.now, self.outage = now, outage
        self.first_page = cache(lambda shard: lifecycle.find_due(shard, now, None, PAGE_SIZE))
        """The first page of due tasks and events of a shard. They are in one index, so that one query finds both."""


@dataclass
class WorkResult:
    """How many rows were changed."""

    changed: int = 0
    failures: int = 0
    """Rows that could not be processed. The next run retries them."""
    unread: int = 0
    """Indexes that could not be read. The next run reads them."""
    finished: bool = True
    """False if the time was up before all due rows were processed."""


@dataclass
class _Source:
    """An index of due rows, page after page, and the function that processes a row.

    The function returns whether it changed anything.
    """

    pages: Iterator[list[dynamodb.Row]]
    process: Callable[[dynamodb.Row], bool]
    has_begun: bool = False
    """Whether a page was read. The first page, and its first rows, do not depend on the share of the time."""


class _Stopwatch(NamedTuple):
    """The time that is left, and the share of it that this work may use."""

    time_left: TimeLeft
    share_ends: int
    """The share is over when only so many milliseconds are left."""

    def is_up(self, *, share: bool) -> bool:
        return self.time_left() <= (self.share_ends if share else 0)


def process(work: DueWork, visit: Visit, time_left: TimeLeft, share_ends: int) -> WorkResult:
    """Process due rows until none is left, the share of the time is over, or no time is left.

    `share_ends`: the share is over when `time_left()` returns this number or less. The first CONCURRENCY rows of each
    index are processed nevertheless, so every run makes progress with every kind and shard.
    """
    watch, result = _Stopwatch(time_left, share_ends), WorkResult()
    removed_agents: list[dynamodb.Row] = []
    sources = deque(_sources(work, visit))
    while sources:
        source = sources.popleft()
        if watch.is_up(share=source.has_begun):
            result.finished = False
            continue
        try:
            rows = next(source.pages, None)
        except Exception:  # noqa: BLE001  # an index that cannot be read does not block the others
            logger.exception("due rows could not be read; the next run retries it", extra=work._asdict())
            result.unread += 1
            continue
        if rows is None:
            continue
        removed_agents += [row for row in rows if row.get("state") == REMOVED]
        _process_rows([row for row in rows if row.get("state") != REMOVED], source, watch, result)
        source.has_begun = True
        sources.append(source)
    _finish_removals(removed_agents, visit.now, watch, result)
    return result


def _process_rows(rows: list[dynamodb.Row], source: _Source, watch: _Stopwatch, result: WorkResult) -> None:
    def process_in_time(numbered: tuple[int, dynamodb.Row]) -> Outcome:
        number, row = numbered
        is_first = not source.has_begun and number < CONCURRENCY
        if watch.is_up(share=not is_first):
            return "unreached"
        return _process_isolated(lambda: "changed" if source.process(row) else "unchanged")

    outcomes = Counter(run_concurrently(process_in_time, list(enumerate(rows)), CONCURRENCY))
    result.changed += outcomes["changed"]
    result.failures += outcomes["failed"]
    result.finished = result.finished and not outcomes["unreached"]


def _finish_removals(rows: list[dynamodb.Row], now: int, watch: _Stopwatch, result: WorkResult) -> None:
    """Visit removed agents in turn until their tasks are released. Each visit releases some, with several threads."""
    remaining, visited = deque(rows), 0
    while remaining:
        if watch.is_up(share=visited > 0):
            result.finished = False
            return
        row = remaining.popleft()
        outcome = _process_isolated(partial(_visit_removed_agent, row, now))
        visited += 1
        if outcome == "more":
            remaining.append(row)
        result.changed += outcome == "changed"
        result.failures += outcome == "failed"


def _process_isolated(call: Callable[[], Outcome]) -> Outcome:
    try:
        return call()
    except Conflict:  # another process changed the row, and set its new due time
        return "unchanged"
    except Exception:  # noqa: BLE001  # an error with one row does not block the others
        logger.exception("a row could not be processed; the next run retries it")
        return "failed"


def _sources(work: DueWork, visit: Visit) -> list[_Source]:
    now, shard = visit.now, work.shard
    match work.kind:
        case "tasks":
            process_task = partial(lifecycle.process_due, now=now, outage=visit.outage)
            return [_Source(_pages_of_tasks_or_events("tasks", shard, visit), process_task)]
        case "agents":
            return [_Source(_pages(agents.find_due, shard, now), partial(_check_agent, visit=visit))]
        case "deliveries":
            return [_Source(_pages(delivery.find_due, shard, now), partial(delivery.resend, now=now))]
        case "events":
            return [
                _Source(_pages_of_tasks_or_events("events", shard, visit), partial(_publish_task_event, now=now)),
                _Source(_pages(status_events.find_due, shard, now), partial(_publish_agent_events, now=now)),
            ]
        case "moves":
            return [_Source(_pages_of_misplaced_tasks(shard), lifecycle.move_to_partition)]


def _pages(find_due: Callable[..., dynamodb.Page], shard: int, now: int) -> Iterator[list[dynamodb.Row]]:
    for page in dynamodb.paginate(lambda start: find_due(shard, now, start, PAGE_SIZE)):
        yield page.rows


def _pages_of_tasks_or_events(
    kind: Literal["tasks", "events"], shard: int, visit: Visit
) -> Iterator[list[dynamodb.Row]]:
    """The rows of one kind of an index that contains both.

    Usually one query returns all due rows of both kinds. If there are more, further queries leave out the other kind.
    So many unpublished events do not delay deadlines.
    """
    page = visit.first_page(shard)
    yield [row for row in page.rows if outbox.is_event(row) == (kind == "events")]
    while page.next_key is not None:
        page = lifecycle.find_due(shard, visit.now, page.next_key, FILTERED_PAGE_SIZE, kind)
        yield page.rows


def _pages_of_misplaced_tasks(shard: int) -> Iterator[list[dynamodb.Row]]:
    for page in dynamodb.paginate(lambda start: lifecycle.find_misplaced(shard, start, PAGE_SIZE)):
        yield page.rows


def _check_agent(row: dynamodb.Row, visit: Visit) -> bool:
    """Mark an agent that stopped responding as inactive, and return its claims to the queue. After a longer silence,
    the tasks that it ran are lost."""
    agent = agents.load_agent(row["owner"], row["agent"])
    if agent is None or agent.state == REMOVED:  # removed since it was read: the next run finishes the removal
        return False
    return agents.check_liveness(
        agent, visit.now, visit.outage, lambda verdict: release_from_silent_agent(agent, verdict, visit.now)
    )


def _visit_removed_agent(row: dynamodb.Row, now: int) -> Outcome:
    agent = agents.load_agent(row["owner"], row["agent"])
    if agent is None or agent.state != REMOVED:  # deleted, or registered again
        return "unchanged"
    return "changed" if finish_removal(agent, now) else "more"


def _publish_task_event(row: dynamodb.Row, now: int) -> bool:
    return event_publisher.publish_task_event(*outbox.event_keys(row), now)


def _publish_agent_events(row: dynamodb.Row, now: int) -> bool:
    return event_publisher.publish_agent_events(row["owner"], row["agent"], now)
