"""Agents that are killed, told to end, and cut off, against the real platform: each task is done once, none is lost.

The relay holds one call while the agent is killed, so each death is at its step exactly. The platform's clock is moved.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS, git, is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.e2e.conftest import Scenario
    from agent.tests.support.relay import RelayedRequest

pytestmark = pytest.mark.timeout(4 * SECONDS)

A_MINUTE = 61
"""Seconds after the start from which heartbeats count that do not name a task."""
LOST_AFTER = 660
"""Seconds of silence after which a run is lost, and the sweep that finds it."""


def told(step: str) -> Callable[[RelayedRequest], bool]:
    return lambda call: call.action == "progress" and call.body["step"] == step


def called(what: str) -> Callable[[RelayedRequest], bool]:
    return lambda call: call.action == what


@pytest.mark.parametrize(
    ("step", "attempt"),
    [
        (called("heartbeat"), 1),
        (called("commands"), 1),
        (told("Starting"), 1),
        (told("Cloning the repository"), 2),
        (called("logs"), 2),
        (told("Looking at what has changed"), 2),
        (told("Pushing the branch"), 2),
        (called("complete"), 1),
    ],
    ids=["beating", "polling", "starting", "cloning", "working", "done working", "before its push", "after its push"],
)
def test_a_machine_that_dies_at_any_step_ends_its_task_once_after_a_restart(
    scene: Scenario, step: Callable[[RelayedRequest], bool], attempt: int
) -> None:
    relay = scene.relay()
    name = scene.register("mortal", relay.url)
    task = scene.submit(branch="main")
    scene.platform.advance(0.001)
    relay.hold(step)
    dying = scene.start(name, scene.fix)
    relay.wait_for_held()
    dying.kill()
    relay.stop_holding()
    scene.platform.advance(A_MINUTE)
    again = scene.start(name, scene.fix)

    ended = scene.advance_until_end(task)

    assert (ended["status"], ended["attempt"], ended["agentId"]) == ("completed", attempt, name), again.log
    assert scene.timeline(task)[-1] == ("completed", attempt)
    assert scene.branches() == [f"{task}-attempt-{attempt}"], "no other attempt has pushed"
    assert git("rev-parse", f"devflow/{scene.branches()[0]}", cwd=scene.origin) == ended["resultFiles"]["commit"]
    assert again.end() == 0, again.log
    left = scene.directory / "state" / "agents" / name
    assert not [*left.glob("outbox/*"), *left.glob("work/*")]


def test_what_a_killed_agent_ran_does_not_work_on(scene: Scenario) -> None:
    name = scene.register("mortal")
    task = scene.submit()
    dying = scene.start(name, scene.note + "print('begun', flush=True); time.sleep(300)\n")
    (run,) = wait_until(scene.runs, lambda: dying.log)
    program = int(run.split()[2])

    dying.kill()

    wait_until(lambda: not is_alive(program))
    scene.user.post(f"/api/tasks/{task}/cancel")


def test_told_once_it_finishes_what_it_runs_and_goes_on_beating(scene: Scenario) -> None:
    relay = scene.relay()
    name = scene.register("draining", relay.url)
    task = scene.submit()
    agent = scene.start(name, scene.note + scene.gate() + scene.fix)
    wait_until(scene.runs, lambda: agent.log)

    agent.term()
    agent.wait_for("finishing what runs")
    other = scene.submit()
    scene.platform.advance(0.001)
    already = len(relay.requests)
    wait_until(lambda: sum(call.body.get("status") == "draining" for call in relay.requests[already:]) >= 3)
    scene.open_gate()

    assert agent.process.wait(SECONDS) == 0, agent.log
    assert scene.task(task)["status"] == "completed"
    assert scene.task(other)["status"] == "queued", "it took nothing new"
    assert scene.user.get(f"/api/agents/{name}").json()["status"] == "inactive"
    assert not [call for call in relay.requests[already:] if call.action == "commands"]
    assert scene.user.post(f"/api/tasks/{other}/cancel").status == 200


def test_told_twice_it_stops_at_once_and_its_next_start_takes_the_task_up_again(scene: Scenario) -> None:
    name = scene.register("hasty")
    task = scene.submit()
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    agent = scene.start(name, scene.note + stubborn + "print('begun'); time.sleep(300)\n")
    (run,) = wait_until(scene.runs, lambda: agent.log)
    scene.platform.advance(A_MINUTE)

    agent.term()
    agent.wait_for("finishing what runs")
    agent.term()

    assert agent.process.wait(SECONDS) == 1, agent.log
    wait_until(lambda: not is_alive(int(run.split()[2])))
    assert scene.task(task)["status"] == "in_progress", "nothing was reported"
    assert scene.branches() == []
    again = scene.start(name, scene.fix)
    assert scene.advance_until_end(task)["attempt"] == 2
    assert again.end() == 0


def test_cut_off_for_longer_than_the_loss_time_it_stops_its_own_work_and_another_one_does_it(scene: Scenario) -> None:
    relay = scene.relay()
    first = scene.register("cut-off", relay.url)
    task = scene.submit()
    working = scene.note + scene.gate() + "open('login.py', 'w').write('by the first\\n')\n"
    agent = scene.start(first, working, pace="beat=0.3,poll=0.2,progress=0.2,grace=0.5,silence=1.5")
    (run,) = wait_until(scene.runs, lambda: agent.log)

    relay.cut = True
    agent.wait_for("out of reach for so long")
    wait_until(lambda: not is_alive(int(run.split()[2])))
    scene.platform.advance(LOST_AFTER)
    assert scene.task(task)["attempt"] == 2
    scene.open_gate()
    second = scene.register("at-hand")
    other = scene.start(second, scene.fix)
    ended = scene.wait_for_end(task)
    relay.cut = False
    agent.wait_for("the platform is back")

    assert (ended["status"], ended["attempt"], ended["agentId"]) == ("completed", 2, second)
    assert scene.branches() == [f"{task}-attempt-2"]
    assert [line.split()[:2] for line in scene.runs()] == [[task, "1"], [task, "2"]]
    assert scene.task(task) == ended
    assert (agent.end(), other.end()) == (0, 0)


def test_a_result_that_comes_too_late_is_refused_and_that_is_said(scene: Scenario) -> None:
    relay = scene.relay()
    first = scene.register("late", relay.url)
    task = scene.submit()
    relay.hold(called("complete"))
    agent = scene.start(first, scene.fix, pace=f"beat=0.3,poll=0.2,progress=0.2,log=0.1,silence={10 * SECONDS}")
    relay.wait_for_held()
    relay.cut = True
    agent.wait_for("trying again")
    scene.platform.advance(LOST_AFTER)
    second = scene.register("at-hand")
    other = scene.start(second, scene.fix)
    ended = scene.wait_for_end(task)
    agent.kill()

    relay.stop_holding()
    relay.cut = False
    again = scene.start(first, scene.fix)
    again.wait_for("came too late or is not wanted")

    assert (ended["attempt"], ended["agentId"]) == (2, second)
    assert scene.task(task) == ended, "the late result has changed nothing"
    assert scene.branches() == [f"{task}-attempt-1", f"{task}-attempt-2"], "names carry the attempt"
    assert (again.end(), other.end()) == (0, 0)


def test_a_task_that_is_cancelled_stops_with_all_that_it_started(scene: Scenario) -> None:
    name = scene.register("cancelled")
    task = scene.submit()
    code = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(scene.directory / 'child')!r}, 'w').write(f'{{child.pid}} ')\ntime.sleep(300)\n"
    )
    agent = scene.start(name, scene.note + code)
    path = scene.directory / "child"
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8").endswith(" "), lambda: agent.log)

    assert scene.user.post(f"/api/tasks/{task}/cancel").status == 200
    ended = scene.wait_for_end(task)

    assert (ended["status"], ended["error"]) == ("cancelled", "Cancelled")
    wait_until(lambda: not is_alive(int(path.read_text(encoding="utf-8"))))
    assert agent.end() == 0


def test_a_second_one_of_the_same_name_is_5_and_leaves_the_first_alone(scene: Scenario) -> None:
    name = scene.register("twin")
    first = scene.start(name, scene.fix)
    first.wait_for("is active")

    second = scene.start(name, scene.fix)
    assert second.process.wait(SECONDS) == 5, second.log
    elsewhere = scene.directory / "elsewhere"
    (elsewhere / "agents" / name).mkdir(parents=True, mode=0o700)
    registration = elsewhere / "agents" / name / "registration.json"
    original = scene.directory / "state" / "agents" / name / "registration.json"
    registration.write_bytes(original.read_bytes())
    registration.chmod(0o600)
    third = scene.start(name, scene.fix, DEVFLOW_STATE=str(elsewhere))
    assert third.process.wait(SECONDS) == 5, third.log
    assert "already running elsewhere" in third.log

    os.kill(first.process.pid, 0)
    assert first.end() == 0
    assert first.process.returncode != -signal.SIGKILL
