"""What agents, people and open pages ask for in a month: calls by their names in bench/figures.json.

How often an agent polls and beats is not written down here. Its own rule (`devflow.poll_schedule`) and the platform's
(`chalicelib.agents.entities`) are asked, step by step over a day.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chalicelib.agents.entities import MIN_POLL_INTERVAL, Agent, Claim
from chalicelib.core.settings import SECOND
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule

HOUR, DAY = 3_600, 86_400
MONTH = 730 * HOUR
"""Seconds, as AWS counts a month."""

WORKDAYS = 22
WORK_BEGINS, WORK_ENDS = 9 * HOUR, 17 * HOUR
TASK = 10 * 60
"""Seconds that an agent works on a task."""
TASK_EVERY = 15 * 60
STEP = 60
"""Seconds between two new steps of a task."""
LOG = 10
"""Seconds between two kilobytes that a task writes into its log."""

KEPT = 7_000
"""Bytes that a finished task takes in the table and its indexes, without its log; tests/http/test_cost.py measures."""

_AGENT = Agent(
    owner="", id="", name="", version="", platform=None, capabilities=[], concurrency=None, state="active", ver="",
    created_at=0, updated_at=0, seen_at=0, worked_at=0,
)  # fmt: skip
INTERVALS = Intervals()
Calls = Counter[str]
Interval = Callable[[Agent, int], int]
"""How soon an agent is to poll again: milliseconds, by how it stands at an instant in milliseconds."""


def by_the_platform(agent: Agent, now: int) -> int:
    return agent.poll_interval(now)


def every_five_seconds(agent: Agent, now: int) -> int:
    del agent, now
    return MIN_POLL_INTERVAL


@dataclass(unsafe_hash=True)
class Worker:
    """One agent, for so long; it works on a task at a time."""

    interval: Interval = by_the_platform
    polls_at_work: bool = False
    """Whether it polls also while it has no place for a task."""
    beats_when_idle: bool = False
    """Whether it sends heartbeats also while polls say that it is there."""
    chance: float = 0.5
    """How far from the full interval its polls are, 0 to 1, of what the agent leaves to chance."""

    def spend(self, seconds: int, tasks: list[int]) -> Calls:
        """What it asks for. `tasks`: when each of its tasks is submitted. Before, it was idle for long."""
        self.calls: Calls = Counter()
        self._minute = -1
        self._worked_at = -DAY
        self._waiting = sorted(tasks)
        schedule = PollSchedule(INTERVALS, 0.0)
        schedule.last_heartbeat_at, schedule.heartbeats_owed = 0.0, 0
        now, until = 0.0, None
        while now < seconds:
            if until is not None and now >= until:
                self._end(until)
                until = None
                schedule.poll_now(now)
            free = int(until is None or self.polls_at_work)
            runs = int(until is not None or self.beats_when_idle)
            action, wait = schedule.next_action(now, running=runs, free=free)
            if action is Action.HEARTBEAT:
                self._asks("heartbeat", now)
                schedule.record_heartbeat(now)
            elif action is Action.POLL:
                if until is None and self._waiting and self._waiting[0] <= now:
                    self._waiting.pop(0)
                    self.calls["poll that claims 1"] += 1
                    until = now + TASK
                    self._worked_at = int(now)
                else:
                    self._asks("idle poll, empty queue", now)
                schedule.record_poll(now, self._interval(now, at_work=until is not None), self.chance)
            else:
                now = min(now + wait, *([until] if until is not None else []), seconds)
        return self.calls

    def _asks(self, call: str, now: float) -> None:
        """The first sign of life of a minute moves the agent in the sweep's index."""
        minute = int(now) // 60
        first = minute != self._minute
        self._minute = minute
        name = (
            {"heartbeat": "heartbeat, first of a minute"}.get(call, "idle poll, first of a minute") if first else call
        )
        self.calls[name] += 1

    def _interval(self, now: float, *, at_work: bool) -> float:
        hold = Claim(attempt=1, timeout=0, claimed_at=0)
        agent = _AGENT.model_copy(
            update={"held": {"task": hold} if at_work else {}, "worked_at": self._worked_at * SECOND}
        )
        return self.interval(agent, int(now * SECOND)) / SECOND

    def _end(self, now: float) -> None:
        """All that one task has led to, from its submission to its end."""
        self._worked_at = int(now)
        self.calls += a_task()


def a_task() -> Calls:
    """What one task leads to beside the poll that claims it, with everybody who looks at it twice."""
    return Counter(
        {
            "submit": 1,
            "message of the workflow queue": 1,
            "event of a task, nobody listens": 3,  # queued, started, completed
            "progress, the first": 1,
            "progress, a new step": TASK // STEP - 1,
            "progress, the same step": int(TASK / INTERVALS.progress) - TASK // STEP,
            "1 KB more of a log": TASK // LOG,
            "complete": 1,
            "show a task": 2,
        }
    )


def idle(worker: Worker) -> Calls:
    """A month without a task."""
    return _times(_day(worker), MONTH / DAY)


def at_work(worker: Worker) -> Calls:
    """A month with a task every quarter of an hour in eight hours of each working day, and nothing in between."""
    day = _day(worker, *range(WORK_BEGINS, WORK_ENDS, TASK_EVERY))
    return _times(day, WORKDAYS) + _times(_day(worker), MONTH / DAY - WORKDAYS)


def busy(worker: Worker) -> Calls:
    """A month with a task every quarter of an hour, day and night."""
    return _times(_day(worker, *range(0, DAY, TASK_EVERY)), MONTH / DAY)


@cache
def _day(worker: Worker, *tasks: int) -> Calls:
    return worker.spend(DAY, list(tasks))


def _times(calls: Calls, factor: float) -> Calls:
    return Counter({name: round(many * factor) for name, many in calls.items()})


LIVE = Path(__file__).parents[2] / "chalicelib" / "dashboard" / "static" / "live.js"


def pauses() -> dict[str, int]:
    """Seconds between two looks of an open page of the dashboard, by what goes on: `PAUSES` in its own source."""
    text = LIVE.read_text(encoding="utf-8")
    block = text[text.index("PAUSES = {") :].partition("}")[0]
    return {name: int(seconds) for name, seconds in re.findall(r"(\w+): (\d+) \* SECOND", block)}


FIGURES_EVERY = 15
"""Seconds between two looks at figures and agents on the overview, `FIGURES_EVERY` in overview.js."""


def overview(pause: int) -> Calls:
    """An hour of the overview, open, with so many seconds between two looks."""
    figures = HOUR // max(pause, FIGURES_EVERY)
    return Counter({"page of tasks": HOUR // pause, "statistics": figures, "page of agents": figures})
