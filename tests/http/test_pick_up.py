"""How soon a task is picked up, by the platform's own intervals: within half a minute, and within five seconds of an
agent that worked in the last ten minutes. An agent here polls exactly when it is told to: ours never later."""

import pytest

from chalicelib.agents.entities import FAST_POLLING_TIME, MAX_POLL_INTERVAL, MIN_POLL_INTERVAL
from chalicelib.core.settings import MINUTE, SECOND
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok

PHASES = [0.0, 0.3, 0.5, 0.999]
"""When in an agent's pause a task comes: its beginning, and just before its end."""


class Polling:
    """An agent that polls when it was told to, by a clock that only this moves."""

    def __init__(self, agent: Agent, clock: Clock) -> None:
        self.agent, self.clock = agent, clock
        self.pause = self.poll()[1]

    def poll(self) -> tuple[list[str], int]:
        answer = ok(self.agent.poll(limit=1))
        return [command["task_id"] for command in answer["commands"]], answer["nextPollInterval"]

    def idle(self, milliseconds: int) -> None:
        """Poll in vain for so long."""
        end = self.clock.now + milliseconds
        while self.clock.now + self.pause < end:
            self.clock.advance(self.pause / SECOND)
            commands, self.pause = self.poll()
            assert commands == []

    def picks_up(self, scene: Scene, task: str, phase: float) -> int:
        """After how many milliseconds it has a task that comes so far in its pause; it does it at once."""
        before = self.pause * phase
        self.clock.advance(before / SECOND)
        came = self.clock.now
        scene.queued(task)
        self.clock.advance((self.pause - before) / SECOND)
        commands, self.pause = self.poll()
        assert commands == [task]
        took = self.clock.now - came
        ok(self.agent.complete(task))
        return took


@pytest.fixture
def polling(scene: Scene, fresh_minute: Clock) -> Polling:
    return Polling(scene.agent(), fresh_minute)


@pytest.mark.parametrize("phase", PHASES)
def test_long_idle_agent_gets_a_task_within_half_a_minute(scene: Scene, polling: Polling, phase: float) -> None:
    polling.idle(30 * MINUTE)
    assert polling.pause == MAX_POLL_INTERVAL == 30 * SECOND
    assert polling.picks_up(scene, "task-1", phase) <= 30 * SECOND


@pytest.mark.parametrize("phase", PHASES)
def test_recently_busy_agent_gets_a_task_within_five_seconds(scene: Scene, polling: Polling, phase: float) -> None:
    polling.idle(30 * MINUTE)
    polling.picks_up(scene, "first", phase)
    for number in range(3):
        polling.idle(FAST_POLLING_TIME - 2 * MIN_POLL_INTERVAL)
        assert polling.picks_up(scene, f"task-{number}", phase) <= 5 * SECOND


def test_idle_agent_polls_at_growing_intervals(polling: Polling) -> None:
    pauses = []
    for _ in range(25):
        polling.idle(MINUTE)
        pauses.append(polling.pause)
    assert pauses == sorted(pauses)
    assert (pauses[8], pauses[-1]) == (MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)
