"""Many agents and many tasks: one agent does each task once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS, wait_until

if TYPE_CHECKING:
    from agent.tests.e2e.conftest import Scenario


@pytest.mark.timeout(20 * SECONDS)
@pytest.mark.parametrize(
    ("agents", "tasks"), [(4, 16), pytest.param(20, 200, marks=pytest.mark.long)], ids=["a few", "many"]
)
def test_each_of_many_tasks_is_done_once(scenario: Scenario, agents: int, tasks: int) -> None:
    scenario.intent = "explain"
    names = [scenario.register(f"one-of-many-{number}", None, "--concurrency", "2") for number in range(agents)]
    submitted = [scenario.submit() for _ in range(tasks)]
    pace = f"poll=2,silence={100 * SECONDS}"
    started = [scenario.start(name, scenario.note + "print('Explained')\n", pace=pace) for name in names]

    def all_completed() -> bool:
        page = scenario.user.get("/api/tasks", {"status": "completed", "intent": "explain", "limit": 1}).json()
        return bool(page["total"] >= tasks)

    for _ in range(tasks // 10 + 1):  # allow a minute for ten tasks, even on a slow machine
        try:
            wait_until(all_completed)
            break
        except AssertionError:
            continue
    ended = [scenario.task(task) for task in submitted]

    assert Counter(task["status"] for task in ended) == {"completed": tasks}
    assert {task["attempt"] for task in ended} == {1}
    assert Counter(line.split()[0] for line in scenario.runs()) == Counter(submitted), "each task was run once"
    assert len({task["agentId"] for task in ended}) > 1
    for agent in started:
        agent.term()
    assert [agent.process.wait(10 * SECONDS) for agent in started] == [0] * agents
