"""The simulated fleets, and the calls that they make in one minute.

The intervals of the calls are those of the real agent and of the platform. A seed decides all phases, so a fleet makes
the same calls in every run.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.cost import usage
from chalicelib.agents import store as agents
from chalicelib.agents.entities import MIN_POLL_INTERVAL
from chalicelib.agents.rules import INACTIVE_AFTER
from chalicelib.core.settings import MINUTE, SECOND
from devflow import poll_schedule
from devflow.intervals import Intervals

WINDOW = 60
"""Seconds that are simulated: one minute, from its beginning."""

TASK = 60
"""Seconds that a task takes on average. Each takes between half and one and a half times as long."""

STEP = 20
"""Seconds between two new steps of a task."""

LOG = usage.LOG
REGISTRATION = 3_600
"""Seconds after which an agent registers again: agents in containers live an hour."""

SMALLEST_TEAM = 20
"""Agents of the smallest teams."""

PUBLISHED_AFTER = 0.2
"""Seconds until the function of a queue handles a message."""

INTERVALS = Intervals()


@dataclass(frozen=True)
class SimulatedFleet:
    """A fleet and its load. `running` is how many tasks an agent runs, for the size of its row."""

    name: str
    agents: int
    tasks: int
    """Tasks a second."""
    shards: int
    """DEVFLOW_SHARDS."""
    largest_team: int
    """The most agents of one team. The sizes of the others follow Zipf's law, down to SMALLEST_TEAM."""
    team_partitions: int = 1
    """DEVFLOW_TEAM_PARTITIONS."""
    running: int = 0
    backlog: bool = False
    """Whether more tasks wait than one query of a poll reads."""
    webhooks: bool = False
    """Whether every team has a webhook that selects all events."""

    def team_sizes(self) -> list[int]:
        sizes: list[int] = []
        while sum(sizes) < self.agents:
            size = max(SMALLEST_TEAM, 4 * self.largest_team // (len(sizes) + 4))
            sizes.append(min(size, self.agents - sum(sizes)))
        return sizes


FLEETS = (
    SimulatedFleet("10,000 agents, 100 tasks a second", 10_000, 100, 4, largest_team=1_000, webhooks=True),
    SimulatedFleet("100,000 agents, 1,000 tasks a second", 100_000, 1_000, 32, largest_team=2_000, webhooks=True),
    SimulatedFleet(
        "One team of 500 people with a backlog: 2,000 agents, 500 tasks a second",
        2_000,
        500,
        16,
        largest_team=2_000,
        team_partitions=2,
        running=14,
        backlog=True,
    ),
    SimulatedFleet(
        "One team with a webhook that selects all events: 2,000 agents, 60 tasks a second",
        2_000,
        60,
        4,
        largest_team=2_000,
        webhooks=True,
    ),
)
SMALL_FLEET = SimulatedFleet(
    "A small fleet, whose load the tests compute again", 200, 5, 4, largest_team=50, webhooks=True
)


@dataclass
class Teams:
    """The teams of a fleet. Agents are numbered through all teams."""

    sizes: list[int]
    owners: list[str] = field(init=False)
    team_of: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.owners = [f"user-{number:08x}-0000-4000-8000-000000000000" for number in range(len(self.sizes))]
        self.team_of = [team for team, size in enumerate(self.sizes) for _ in range(size)]

    def agent_id(self, agent: int) -> str:
        return f"agent-{agent:06d}"


Second = defaultdict[str, list[tuple[int, int]]]
"""The calls of one second, by their names in the recording. Each has the number of the agent, and that of the task (-1:
none)."""


def simulate(fleet: SimulatedFleet, teams: Teams, start: int, seed: int = 1) -> list[Second]:
    """The calls of each second of the minute that begins at `start` (epoch milliseconds)."""
    chance = random.Random(seed)  # noqa: S311  # the same seed must make the same calls
    seconds: list[Second] = [defaultdict(list) for _ in range(WINDOW)]
    _add_agents(seconds, fleet, teams, start, chance)
    tasks = itertools.count()
    for submitted_at in _arrivals(fleet.tasks, chance):
        agent = chance.randrange(fleet.agents)  # so the tasks of a team are in proportion to its agents
        _add_task(seconds, fleet, teams, agent, next(tasks), submitted_at, chance)
    seconds[0]["sweep"].append((0, -1))
    return seconds


def _arrivals(rate: int, chance: random.Random) -> Iterator[float]:
    """When tasks are submitted: at random, from before the minute, so that tasks of all ages run in it."""
    now = -2.0 * TASK
    while (now := now + chance.expovariate(rate)) < WINDOW:
        yield now


def _add_agents(seconds: list[Second], fleet: SimulatedFleet, teams: Teams, start: int, chance: random.Random) -> None:
    """The polls and heartbeats of each agent. It polls at the shortest interval, as after recent work, even while it
    runs tasks."""
    interval = MIN_POLL_INTERVAL / SECOND
    jitter = poll_schedule._JITTER
    for agent in range(fleet.agents):
        moves_at = second_of_move(teams.owners[teams.team_of[agent]], teams.agent_id(agent), start)
        poll_at = chance.uniform(0, interval)
        polls = []
        while poll_at < WINDOW:
            polls.append(poll_at)
            poll_at += interval * (1 - jitter * chance.random())
        moving = next((at for at in polls if at >= moves_at), polls[0])
        for at in polls:
            seconds[int(at)]["idle poll that moves" if at == moving else "idle poll"].append((agent, -1))
        if fleet.tasks:
            seconds[int(chance.uniform(0, INTERVALS.heartbeat))]["heartbeat"].append((agent, -1))
        if chance.random() < WINDOW / REGISTRATION:
            seconds[chance.randrange(WINDOW)]["register"].append((agent, -1))


def second_of_move(owner: str, agent_id: str, start: int) -> float:
    """From which second of the minute on a check-in of the agent moves its next check by a minute.

    The product's own rule gives the time of the check, which is INACTIVE_AFTER after the end of the agent's minute.
    """
    check_at = agents.check_schedule(owner, agent_id, start)["check_at"]
    return (check_at - INACTIVE_AFTER - start) % MINUTE / SECOND


def _add_task(
    seconds: list[Second],
    fleet: SimulatedFleet,
    teams: Teams,
    agent: int,
    task: int,
    submitted_at: float,
    chance: random.Random,
) -> None:
    """All calls of one task. The agent that claims it is any agent of the team."""
    team = teams.team_of[agent]
    claims_after = MIN_POLL_INTERVAL / SECOND / teams.sizes[team] * chance.random()
    claimed_at = submitted_at + PUBLISHED_AFTER + claims_after
    started_at = claimed_at + chance.random()
    ended_at = started_at + TASK * chance.uniform(0.5, 1.5)
    suffix = ", one webhook" if fleet.webhooks else ""
    calls = [
        (submitted_at, "submit"),
        (submitted_at + PUBLISHED_AFTER, "submitted message"),
        (submitted_at + 2 * PUBLISHED_AFTER, f"event, created{suffix}"),
        (claimed_at, "poll that claims, long queue" if fleet.backlog else "poll that claims"),
        (started_at, "first progress"),
        (started_at + PUBLISHED_AFTER, f"event, started{suffix}"),
        (ended_at, "complete"),
        (ended_at + PUBLISHED_AFTER, f"event, completed{suffix}"),
        (ended_at, "idle poll"),  # an agent polls as soon as a task has ended
    ]
    if fleet.webhooks:
        calls += [(at + PUBLISHED_AFTER, "delivery") for at, name in calls if name.startswith("event")]
    for name, interval in (("progress", INTERVALS.progress), ("progress, new step", STEP), ("log chunk", LOG)):
        first = started_at + interval * (1 if name != "log chunk" else chance.random())
        count = max(0, int((ended_at - first) // interval) + 1)
        calls += [(first + number * interval, name) for number in range(count)]
    for at, name in calls:
        if 0 <= at < WINDOW:
            seconds[int(at)][name].append((agent, task))
