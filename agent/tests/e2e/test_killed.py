"""Agents that are killed, stopped or offline, with the real platform: each task is done once, and none is lost.

The relay holds a request while the agent is killed, so that the agent dies at exactly this step. The tests advance the
platform's clock.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS, git, wait_until
from agent.tests.support.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.e2e.conftest import Scenario
    from agent.tests.support.relay import RelayedRequest

pytestmark = pytest.mark.timeout(4 * SECONDS)

LOST_AFTER = 660
"""Seconds of silence after which a task is lost, plus the interval of the sweep."""


def reports_step(step: str) -> Callable[[RelayedRequest], bool]:
    return lambda request: request.action == "progress" and request.body["step"] == step


def calls(action: str) -> Callable[[RelayedRequest], bool]:
    return lambda request: request.action == action


@pytest.mark.parametrize(
    ("step", "attempt"),
    [
        (calls("heartbeat"), 1),
        (calls("commands"), 1),
        (reports_step("Starting"), 1),
        (reports_step("Cloning the repository"), 2),
        (calls("logs"), 2),
        (reports_step("Committing the changes"), 2),
        (reports_step("Pushing the branch"), 2),
        (calls("complete"), 1),
    ],
    ids=["heartbeat", "poll", "start", "clone", "log", "commit", "before the push", "after the push"],
)
def test_task_ends_once_if_the_agent_dies_at_any_step_and_restarts(
    scenario: Scenario, step: Callable[[RelayedRequest], bool], attempt: int
) -> None:
    relay = scenario.relay()
    name = scenario.register("mortal", relay.url)
    task = scenario.submit(branch="main")
    scenario.platform.advance(0.001)
    relay.hold(step)
    agent = scenario.start(name, scenario.fix)
    relay.wait_for_held()
    agent.kill()
    relay.stop_holding()
    restarted = scenario.start(name, scenario.fix)

    ended = scenario.advance_until_end(task)

    assert (ended["status"], ended["attempt"], ended["agentId"]) == ("completed", attempt, name), restarted.log
    assert scenario.timeline(task)[-1] == ("completed", attempt)
    assert scenario.branches() == [f"{task}-attempt-{attempt}"], "no other attempt was pushed"
    assert git("rev-parse", f"devflow/{scenario.branches()[0]}", cwd=scenario.origin) == ended["resultFiles"]["commit"]
    assert restarted.end() == 0, restarted.log
    state = scenario.directory / "state" / "agents" / name
    assert not [*state.glob("outbox/*"), *state.glob("work/*")]


def test_program_of_a_killed_agent_ends(scenario: Scenario) -> None:
    name = scenario.register("mortal")
    task = scenario.submit()
    agent = scenario.start(name, scenario.note + "print('begun', flush=True); time.sleep(300)\n")
    (run,) = wait_until(scenario.runs, lambda: agent.log)
    program = int(run.split()[2])

    agent.kill()

    wait_until(lambda: not is_alive(program))
    scenario.user.post(f"/api/tasks/{task}/cancel")


def test_first_signal_finishes_running_tasks_while_heartbeats_continue(scenario: Scenario) -> None:
    relay = scenario.relay()
    name = scenario.register("draining", relay.url)
    task = scenario.submit()
    agent = scenario.start(name, scenario.note + scenario.gate() + scenario.fix)
    wait_until(scenario.runs, lambda: agent.log)

    agent.term()
    agent.wait_for("finishing the running tasks")
    other = scenario.submit()
    scenario.platform.advance(0.001)
    already = len(relay.requests)
    wait_until(lambda: sum(call.body.get("status") == "draining" for call in relay.requests[already:]) >= 3)
    scenario.open_gate()

    assert agent.process.wait(SECONDS) == 0, agent.log
    assert scenario.task(task)["status"] == "completed"
    assert scenario.task(other)["status"] == "queued", "the draining agent polled no new task"
    assert scenario.user.get(f"/api/agents/{name}").json()["status"] == "inactive"
    assert not [call for call in relay.requests[already:] if call.action == "commands"]
    assert scenario.user.post(f"/api/tasks/{other}/cancel").status == 200


def test_second_signal_ends_at_once_and_a_restart_resumes_the_task(scenario: Scenario) -> None:
    name = scenario.register("hasty")
    task = scenario.submit()
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    agent = scenario.start(name, scenario.note + stubborn + "print('begun'); time.sleep(300)\n")
    (run,) = wait_until(scenario.runs, lambda: agent.log)

    agent.term()
    agent.wait_for("finishing the running tasks")
    agent.term()

    assert agent.process.wait(SECONDS) == 1, agent.log
    wait_until(lambda: not is_alive(int(run.split()[2])))
    assert scenario.task(task)["status"] == "in_progress", "nothing was reported"
    assert scenario.branches() == []
    restarted = scenario.start(name, scenario.fix)
    wait_until(lambda: scenario.task(task)["attempt"] == 2, lambda: restarted.log)  # the clock stands still
    assert scenario.advance_until_end(task)["attempt"] == 2
    assert restarted.end() == 0


def test_offline_agent_cancels_its_job_and_another_agent_does_the_task(scenario: Scenario) -> None:
    relay = scenario.relay()
    first = scenario.register("cut-off", relay.url)
    task = scenario.submit()
    working = scenario.note + scenario.gate() + "open('login.py', 'w').write('by the first\\n')\n"
    agent = scenario.start(first, working, pace="beat=0.3,poll=0.2,progress=0.2,grace=0.5,silence=1.5")
    (run,) = wait_until(scenario.runs, lambda: agent.log)

    relay.cut = True
    agent.wait_for("unavailable for so long")
    wait_until(lambda: not is_alive(int(run.split()[2])))
    scenario.platform.advance(LOST_AFTER)
    assert scenario.task(task)["attempt"] == 2
    scenario.open_gate()
    second = scenario.register("at-hand")
    other = scenario.start(second, scenario.fix)
    ended = scenario.wait_for_end(task)
    relay.cut = False
    agent.wait_for("the platform is available again")

    assert (ended["status"], ended["attempt"], ended["agentId"]) == ("completed", 2, second)
    assert scenario.branches() == [f"{task}-attempt-2"]
    assert [line.split()[:2] for line in scenario.runs()] == [[task, "1"], [task, "2"]]
    assert scenario.task(task) == ended
    assert (agent.end(), other.end()) == (0, 0)


def test_late_result_is_rejected_and_logged(scenario: Scenario) -> None:
    relay = scenario.relay()
    first = scenario.register("late", relay.url)
    task = scenario.submit()
    relay.hold(calls("complete"))
    agent = scenario.start(first, scenario.fix, pace=f"beat=0.3,poll=0.2,progress=0.2,log=0.1,silence={10 * SECONDS}")
    relay.wait_for_held()
    relay.cut = True
    agent.wait_for("retrying")
    scenario.platform.advance(LOST_AFTER)
    second = scenario.register("at-hand")
    other = scenario.start(second, scenario.fix)
    ended = scenario.wait_for_end(task)
    agent.kill()

    relay.stop_holding()
    relay.cut = False
    restarted = scenario.start(first, scenario.fix)
    restarted.wait_for("the platform rejected the result")

    assert (ended["attempt"], ended["agentId"]) == (2, second)
    assert scenario.task(task) == ended, "the late result changes nothing"
    assert scenario.branches() == [f"{task}-attempt-1", f"{task}-attempt-2"], "branch names contain the attempt"
    assert (restarted.end(), other.end()) == (0, 0)


def test_cancelled_task_ends_with_all_its_processes(scenario: Scenario) -> None:
    name = scenario.register("cancelled")
    task = scenario.submit()
    code = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(scenario.directory / 'child')!r}, 'w').write(f'{{child.pid}} ')\ntime.sleep(300)\n"
    )
    agent = scenario.start(name, scenario.note + code)
    path = scenario.directory / "child"
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8").endswith(" "), lambda: agent.log)

    assert scenario.user.post(f"/api/tasks/{task}/cancel").status == 200
    ended = scenario.wait_for_end(task)

    assert (ended["status"], ended["error"]) == ("cancelled", "Cancelled")
    wait_until(lambda: not is_alive(int(path.read_text(encoding="utf-8"))))
    assert agent.end() == 0


def test_second_agent_of_the_same_name_does_not_start_and_the_first_continues(scenario: Scenario) -> None:
    name = scenario.register("twin")
    first = scenario.start(name, scenario.fix)
    first.wait_for("is active")

    second = scenario.start(name, scenario.fix)
    assert second.process.wait(SECONDS) == 5, second.log
    elsewhere = scenario.directory / "elsewhere"
    (elsewhere / "agents" / name).mkdir(parents=True, mode=0o700)
    registration = elsewhere / "agents" / name / "registration.json"
    original = scenario.directory / "state" / "agents" / name / "registration.json"
    registration.write_bytes(original.read_bytes())
    registration.chmod(0o600)
    third = scenario.start(name, scenario.fix, DEVFLOW_STATE=str(elsewhere))
    third.wait_for("already running elsewhere")  # it tries again for a while, because the first may have been killed
    third.end()
    assert f"{name} is active" not in third.log

    os.kill(first.process.pid, 0)
    assert first.end() == 0
    assert first.process.returncode != -signal.SIGKILL
