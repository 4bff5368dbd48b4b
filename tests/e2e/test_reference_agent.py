"""examples/agent.py in real processes, with a real local stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Platform
    from tests.support.client import Client

AGENT = Path(__file__).parents[2] / "examples" / "agent.py"
FAST_PROGRESS = "import sys, agent; agent.PROGRESS = 0.2; sys.exit(agent.main())"
"""The same program, but it sends its progress, and learns of a cancel, every 0.2 s instead of every 10 s."""

SECONDS = 30


class Agent:
    """One process of the reference agent. `token` is passed in its environment, as users should do too."""

    def __init__(self, url: str, token: str, log: Path, *arguments: str, fast_progress: bool = False) -> None:
        self.log = log
        program = ["-c", FAST_PROGRESS] if fast_progress else [str(AGENT)]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program, "--url", url, *arguments],
                cwd=AGENT.parent,
                env=os.environ | {"DEVFLOW_TOKEN": token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + SECONDS
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.02)

    def end(self) -> int:
        """Send SIGTERM and wait for the process. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture
def start_agent(platform: Platform, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """A function that starts the reference agent: `start_agent(token, "--once")`. It is killed after the test."""
    with ExitStack() as stack:

        def start(token: str, *arguments: str, fast_progress: bool = False) -> Agent:
            log = tmp_path / f"{uuid.uuid4()}.log"
            agent = Agent(platform.url, token, log, *arguments, fast_progress=fast_progress)
            stack.callback(agent.process.wait)
            stack.callback(agent.process.kill)
            return agent

        yield start


@pytest.fixture
def user(platform: Platform) -> Client:
    return platform.client.login()


@pytest.fixture
def intent() -> str:
    """A capability that only this test's agents have."""
    return f"reference-{uuid.uuid4()}"


def submit(user: Client, intent: str) -> str:
    task = f"task-{uuid.uuid4()}"
    body = {
        "taskId": task,
        "intent": intent,
        "repo": "https://github.com/user/repo",
        "branch": "main",
        "naturalLanguage": "Fix the null pointer exception in login flow",
    }
    response = user.post("/api/workflows/execute", body)
    assert response.status == 202, response
    return task


def wait_until_ended(user: Client, task: str) -> dict[str, Any]:
    """Wait until a task has ended, and return it."""
    end = time.monotonic() + SECONDS
    while True:
        found: dict[str, Any] = user.get(f"/api/tasks/{task}").json()
        if found["status"] in ("completed", "failed", "cancelled"):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def statuses(user: Client, task: str) -> list[str]:
    return [event["status"] for event in user.get(f"/api/tasks/{task}/events").json()["data"]]


def test_agent_completes_one_task_and_exits(user: Client, intent: str, start_agent: Callable[..., Agent]) -> None:
    task = submit(user, intent)

    agent = start_agent(str(user.token), "--agent-id", intent, "--capability", intent, "--once")

    assert agent.process.wait(SECONDS) == 0, agent.output
    done = wait_until_ended(user, task)
    assert (done["status"], done["agentId"], done["summary"]) == ("completed", intent, "Walked through the steps")
    assert done["currentStep"] == "Running tests"
    events = statuses(user, task)
    assert (events[:4], events[-1]) == (["pending", "queued", "assigned", "in_progress"], "completed")


def test_program_gets_the_task_and_returns_the_result(
    user: Client, intent: str, tmp_path: Path, start_agent: Callable[..., Agent]
) -> None:
    task = submit(user, intent)
    result = {"summary": "Fixed it", "prUrl": "https://github.com/user/repo/pull/456", "resultFiles": {"files": ["a"]}}
    command = f"cat > {tmp_path}/command; echo working on it; echo '{json.dumps(result)}'; env > {tmp_path}/env"

    agent = start_agent(str(user.token), "--agent-id", intent, "--capability", intent, "--once", "--run", command)

    assert agent.process.wait(SECONDS) == 0, agent.output
    done = wait_until_ended(user, task)
    assert done["status"] == "completed", done
    assert {name: done[name] for name in result} == result
    assert done["output"] == f"working on it\n{json.dumps(result)}"
    received = json.loads((tmp_path / "command").read_text(encoding="utf-8"))
    assert (received["task_id"], received["intent"], received["attempt"]) == (task, intent, 1)
    assert "DEVFLOW_TOKEN" not in (tmp_path / "env").read_text(encoding="utf-8")


def test_failing_program_fails_the_task_with_its_error(
    user: Client, intent: str, start_agent: Callable[..., Agent]
) -> None:
    task = submit(user, intent)

    agent = start_agent(
        str(user.token), "--agent-id", intent, "--capability", intent, "--once",
        "--run", "echo cloning; echo 'cannot clone: no such repository' >&2; exit 3",
    )  # fmt: skip

    assert agent.process.wait(SECONDS) == 0, agent.output
    failed = wait_until_ended(user, task)
    assert (failed["status"], failed["error"]) == ("failed", "Exit status 3: cannot clone: no such repository")


def test_two_agents_run_each_of_ten_tasks_once(
    user: Client, intent: str, tmp_path: Path, start_agent: Callable[..., Agent]
) -> None:
    tasks = {submit(user, intent) for _ in range(10)}
    note = f"""{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)["task_id"])' >> {tmp_path}/done"""

    agents = [
        start_agent(
            str(user.token), "--agent-id", f"{intent}-{number}", "--capability", intent, "--limit", "2", "--run", note
        )
        for number in range(2)
    ]
    ended = [wait_until_ended(user, task) for task in tasks]

    assert {task["status"] for task in ended} == {"completed"}
    assert {task["agentId"] for task in ended} == {f"{intent}-0", f"{intent}-1"}
    assert sorted((tmp_path / "done").read_text(encoding="utf-8").split()) == sorted(tasks)
    assert all(statuses(user, task).count("assigned") == 1 for task in tasks)
    assert [agent.end() for agent in agents] == [0, 0]


def test_idle_agent_exits_on_sigterm(user: Client, intent: str, start_agent: Callable[..., Agent]) -> None:
    agent = start_agent(str(user.token), "--agent-id", intent, "--capability", intent)
    agent.wait_for("polling")

    assert agent.end() == 0, agent.output


def test_working_agent_finishes_its_task_on_sigterm(
    user: Client, intent: str, tmp_path: Path, start_agent: Callable[..., Agent]
) -> None:
    first = submit(user, intent)
    command = f"touch {tmp_path}/started; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo finished"
    agent = start_agent(str(user.token), "--agent-id", intent, "--capability", intent, "--run", command)
    end = time.monotonic() + SECONDS
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end, agent.output
        time.sleep(0.02)

    agent.process.send_signal(signal.SIGTERM)
    second = submit(user, intent)
    (tmp_path / "go").touch()

    assert agent.process.wait(SECONDS) == 0, agent.output
    assert wait_until_ended(user, first)["summary"] == "finished"
    assert user.get(f"/api/tasks/{second}").json()["status"] in ("pending", "queued")


def test_agent_stops_the_program_of_a_cancelled_task(
    user: Client, intent: str, tmp_path: Path, start_agent: Callable[..., Agent]
) -> None:
    task = submit(user, intent)
    agent = start_agent(
        str(user.token), "--agent-id", intent, "--capability", intent, "--run", f"echo $$ > {tmp_path}/pid; sleep 300",
        fast_progress=True,
    )  # fmt: skip
    end = time.monotonic() + SECONDS
    while user.get(f"/api/tasks/{task}").json()["currentStep"] != "Running":
        assert time.monotonic() < end, agent.output
        time.sleep(0.05)

    assert user.post(f"/api/tasks/{task}/cancel").status == 200

    ended = wait_until_ended(user, task)
    assert (ended["status"], ended["error"]) == ("cancelled", "Cancelled")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), 0)
    assert agent.end() == 0, agent.output


def test_agent_exits_if_its_token_is_rejected(intent: str, start_agent: Callable[..., Agent]) -> None:
    agent = start_agent("not-a-token", "--agent-id", intent)

    assert agent.process.wait(SECONDS) == 1
    assert "401" in agent.output


def test_restarted_agent_continues_with_the_same_id(
    user: Client, intent: str, start_agent: Callable[..., Agent]
) -> None:
    body = {"agentId": intent, "name": "my agent", "version": "0.2.0", "capabilities": [intent]}
    agent_token = user.post("/api/agents", body).json()["token"]
    for token in (agent_token, str(user.token)):
        task = submit(user, intent)

        agent = start_agent(token, "--agent-id", intent, "--capability", intent, "--once")

        assert agent.process.wait(SECONDS) == 0, agent.output
        assert wait_until_ended(user, task)["agentId"] == intent
