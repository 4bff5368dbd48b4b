"""How soon an agent picks up a task, at the intervals that the platform sets.

An idle agent does within half a minute, and an agent that worked in the last ten minutes within five seconds. The agent
here polls exactly at the interval. The agent of this project polls earlier, and never later.
"""

import pytest

from chalicelib.agents.entities import FAST_POLLING_TIME, MAX_POLL_INTERVAL, MIN_POLL_INTERVAL
from chalicelib.core.settings import MINUTE, SECOND
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok

PHASES = [0.0, 0.3, 0.5, 0.999]
"""The part of an agent's interval that has passed when a task is submitted: from none to almost all."""


class Polling:
    """An agent that polls at the interval of the platform. It advances the clock itself."""

    def __init__(self, agent: Agent, clock: Clock) -> None:
        self.agent, self.clock = agent, clock
        self.interval = self.poll()[1]

    def poll(self) -> tuple[list[str], int]:
        response = ok(self.agent.poll(limit=1))
        return [command["task_id"] for command in response["commands"]], response["nextPollInterval"]

    def idle(self, milliseconds: int) -> None:
        """Poll without work for a time."""
        end = self.clock.now + milliseconds
        while self.clock.now + self.interval < end:
            self.clock.advance(self.interval / SECOND)
            commands, self.interval = self.poll()
            assert commands == []

    def pick_up(self, scenario: Scenario, task_id: str, phase: float) -> int:
        """Submit a task at this phase of the interval. The agent completes it at once. Returns the latency in ms."""
        elapsed = self.interval * phase
        self.clock.advance(elapsed / SECOND)
        submitted_at = self.clock.now
        scenario.queue_tasks(task_id)
        self.clock.advance((self.interval - elapsed) / SECOND)
        commands, self.interval = self.poll()
        assert commands == [task_id]
        latency = self.clock.now - submitted_at
        ok(self.agent.complete(task_id))
        return latency


@pytest.fixture
def polling(scenario: Scenario, fresh_minute: Clock) -> Polling:
    return Polling(scenario.agent(), fresh_minute)


@pytest.mark.parametrize("phase", PHASES)
def test_long_idle_agent_gets_a_task_within_half_a_minute(scenario: Scenario, polling: Polling, phase: float) -> None:
    polling.idle(30 * MINUTE)
    assert polling.interval == MAX_POLL_INTERVAL == 30 * SECOND
    assert polling.pick_up(scenario, "task-1", phase) <= 30 * SECOND


@pytest.mark.parametrize("phase", PHASES)
def test_recently_busy_agent_gets_a_task_within_five_seconds(
    scenario: Scenario, polling: Polling, phase: float
) -> None:
    polling.idle(30 * MINUTE)
    polling.pick_up(scenario, "first", phase)
    for number in range(3):
        polling.idle(FAST_POLLING_TIME - 2 * MIN_POLL_INTERVAL)
        assert polling.pick_up(scenario, f"task-{number}", phase) <= 5 * SECOND


def test_idle_agent_polls_at_growing_intervals(polling: Polling) -> None:
    intervals = []
    for _ in range(25):
        polling.idle(MINUTE)
        intervals.append(polling.interval)
    assert intervals == sorted(intervals)
    assert (intervals[8], intervals[-1]) == (MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)
