"""The calls that agents, people and open pages make in a month, by their names in bench/figures.json.

The intervals of polls and heartbeats are not written here. The simulation applies the agent's own rule and the
platform's at every step of a day.
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
"""Seconds in a month of AWS's price pages."""

WORKDAYS = 22
WORK_BEGINS, WORK_ENDS = 9 * HOUR, 17 * HOUR
TASK = 10 * 60
"""Seconds that an agent works on a task."""
TASK_EVERY = 15 * 60
STEP = 60
"""Seconds between two new steps of a task."""
LOG = 10
"""Seconds in which a task writes a kilobyte into its log."""

TASK_BYTES = 7_000
"""Bytes of a finished task in its table and indexes, without its log. tests/http/test_cost.py verifies it."""

_AGENT = Agent(
    owner="", id="", name="", version="", platform=None, capabilities=[], concurrency=None, state="active", ver="",
    created_at=0, updated_at=0, seen_at=0, worked_at=0,
)  # fmt: skip
INTERVALS = Intervals()
Calls = Counter[str]
IntervalRule = Callable[[Agent, int], int]
"""Milliseconds until an agent's next poll, from its row and the current instant in milliseconds."""


def platform_interval(agent: Agent, now: int) -> int:
    return agent.poll_interval(now)


def fixed_interval(agent: Agent, now: int) -> int:
    """Every five seconds."""
    del agent, now
    return MIN_POLL_INTERVAL


@dataclass(unsafe_hash=True)
class SimulatedAgent:
    """An agent that works on one task at a time."""

    interval: IntervalRule = platform_interval
    polls_at_work: bool = False
    """Whether it also polls while it has no capacity for a task."""
    beats_when_idle: bool = False
    """Whether it also sends heartbeats while its polls serve as check-ins."""
    jitter: float = 0.5
    """0 to 1: the share of the permitted random reduction by which each poll comes early."""

    def simulate(self, seconds: int, submitted_at: list[int]) -> Calls:
        """The calls of this agent and its tasks. The agent has been idle for a long time before.

        `submitted_at`: the second at which each of its tasks is submitted.
        """
        self.calls: Calls = Counter()
        self._minute = -1
        self._worked_at = -DAY
        self._queue = sorted(submitted_at)
        schedule = PollSchedule(INTERVALS, 0.0)
        schedule.last_heartbeat_at, schedule.heartbeats_owed = 0.0, 0
        now, task_ends = 0.0, None
        while now < seconds:
            if task_ends is not None and now >= task_ends:
                self._end_task(task_ends)
                task_ends = None
                schedule.poll_now(now)
            free = int(task_ends is None or self.polls_at_work)
            running = int(task_ends is not None or self.beats_when_idle)
            action, wait = schedule.next_action(now, running=running, free=free)
            if action is Action.HEARTBEAT:
                self._count("heartbeat", now)
                schedule.record_heartbeat(now)
            elif action is Action.POLL:
                if task_ends is None and self._queue and self._queue[0] <= now:
                    self._queue.pop(0)
                    self.calls["poll that claims 1"] += 1
                    task_ends = now + TASK
                    self._worked_at = int(now)
                else:
                    self._count("idle poll, empty queue", now)
                schedule.record_poll(now, self._poll_interval(now, at_work=task_ends is not None), self.jitter)
            else:
                now = min(now + wait, *([task_ends] if task_ends is not None else []), seconds)
        return self.calls

    def _count(self, call: str, now: float) -> None:
        """Count a check-in. The first one of a minute costs more, because it moves the agent in the sweep's index."""
        minute = int(now) // 60
        first = minute != self._minute
        self._minute = minute
        name = (
            {"heartbeat": "heartbeat, first of a minute"}.get(call, "idle poll, first of a minute") if first else call
        )
        self.calls[name] += 1

    def _poll_interval(self, now: float, *, at_work: bool) -> float:
        claim = Claim(attempt=1, timeout=0, claimed_at=0)
        agent = _AGENT.model_copy(
            update={"held": {"task": claim} if at_work else {}, "worked_at": self._worked_at * SECOND}
        )
        return self.interval(agent, int(now * SECOND)) / SECOND

    def _end_task(self, now: float) -> None:
        """Count the calls of one task, from its submission to its end."""
        self._worked_at = int(now)
        self.calls += calls_of_task()


def calls_of_task() -> Calls:
    """The calls of one task, without the poll that claims it. Its user looks at it twice."""
    return Counter(
        {
            "submit": 1,
            "message of the workflow queue": 1,
            "event of a task, nobody listens": 2,  # created, started
            "end of a task, nobody listens": 1,
            "progress, the first": 1,
            "progress, a new step": TASK // STEP - 1,
            "progress, the same step": int(TASK / INTERVALS.progress) - TASK // STEP,
            "1 KB more of a log": TASK // LOG,
            "complete": 1,
            "show a task": 2,
        }
    )


def idle_month(agent: SimulatedAgent) -> Calls:
    """A month without a task."""
    return _multiply(_simulate_day(agent), MONTH / DAY)


def working_hours_month(agent: SimulatedAgent) -> Calls:
    """A month with a task every TASK_EVERY in eight hours of each workday, and no other tasks."""
    workday = _simulate_day(agent, *range(WORK_BEGINS, WORK_ENDS, TASK_EVERY))
    return _multiply(workday, WORKDAYS) + _multiply(_simulate_day(agent), MONTH / DAY - WORKDAYS)


def busy_month(agent: SimulatedAgent) -> Calls:
    """A month with a task every TASK_EVERY, day and night."""
    return _multiply(_simulate_day(agent, *range(0, DAY, TASK_EVERY)), MONTH / DAY)


@cache
def _simulate_day(agent: SimulatedAgent, *submitted_at: int) -> Calls:
    return agent.simulate(DAY, list(submitted_at))


def _multiply(calls: Calls, factor: float) -> Calls:
    return Counter({name: round(number * factor) for name, number in calls.items()})


POLLING_SCRIPT = Path(__file__).parents[2] / "chalicelib" / "dashboard" / "static" / "polling.js"


def read_pauses() -> dict[str, int]:
    """Seconds between two refreshes of an open page of the dashboard, by its state: `INTERVALS` in polling.js."""
    text = POLLING_SCRIPT.read_text(encoding="utf-8")
    block = text[text.index("INTERVALS = {") :].partition("}")[0]
    return {name: int(seconds) for name, seconds in re.findall(r"(\w+): (\d+) \* SECOND", block)}


FIGURES_EVERY = 15
"""Least seconds between two refreshes of statistics and agents on the overview: `STATS_INTERVAL_MS` in overview.js."""


def overview_hour(pause: int) -> Calls:
    """The calls of an open overview in an hour, with this number of seconds between two refreshes."""
    figures = HOUR // max(pause, FIGURES_EVERY)
    return Counter({"page of tasks": HOUR // pause, "statistics": figures, "page of agents": figures})
