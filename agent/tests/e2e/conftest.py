"""Fixtures for tests with real agents, a real platform and real repositories."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.relay import NetworkRelay
from tests.e2e.conftest import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client

SECONDS = 60
SHORT_INTERVALS = "beat=0.3,poll=0.2,progress=0.2,log=0.1,grace=0.5,flush=10,farewell=5"
"""Short intervals for the agent, so that tests only have to advance the platform's clock."""


def wait_until(
    condition: Callable[[], Any], describe: Callable[[], object] = lambda: "the condition did not become true"
) -> Any:
    """Wait for a true result and return it."""
    end = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < end, describe()
        time.sleep(0.02)
    return result


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class AgentProcess:
    """One process of `devflow agent start`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times, lambda: f"{text!r} is not in the log:\n{self.log}")

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait(SECONDS) == -signal.SIGKILL

    def term(self) -> None:
        self.process.terminate()

    def end(self) -> int:
        self.term()
        return self.process.wait(SECONDS)


class Scenario:
    """A platform, a user, a repository and agents."""

    def __init__(self, platform: Platform, directory: Path, cleanup: ExitStack) -> None:
        self.platform, self.directory, self._cleanup = platform, directory, cleanup
        self.user: Client = platform.client.login()
        self.intent = "fix-bug"
        self.names: list[str] = []
        self.terminal: int | None = None
        """A terminal that becomes the controlling terminal of agents."""
        self.origin = self._repository()

    def _repository(self) -> Path:
        seed = self.directory / "seed"
        git("init", "--quiet", "--initial-branch=main", str(seed), cwd=self.directory)
        (seed / "login.py").write_text("bug\n", encoding="utf-8")
        git("add", "--all", cwd=seed)
        git("commit", "--quiet", "--message=a commit", cwd=seed)
        git("clone", "--quiet", "--bare", str(seed), "origin.git", cwd=self.directory)
        return self.directory / "origin.git"

    def relay(self) -> NetworkRelay:
        relay = NetworkRelay(self.platform.url)
        self._cleanup.callback(relay.end)
        return relay

    def program(self, code: str) -> str:
        """Return the command line of an engine that runs Python code in the clone."""
        return shlex.join([sys.executable, "-u", "-c", code])

    def register(self, name: str, url: str | None = None, *more: str, **env: str) -> str:
        """Register an agent with a unique name. Returns the name."""
        name = f"{name}-{uuid.uuid4().hex[:8]}"
        completed = self.devflow("agent", "register", "--name", name, *more, url=url, **env)
        assert completed.returncode == 0, completed.stderr
        self.names.append(name)
        return name

    def devflow(self, *arguments: str, url: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "devflow", *arguments], env=self.env(url) | env, cwd=self.directory,
            capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def env(self, url: str | None = None) -> dict[str, str]:
        return os.environ | {
            "DEVFLOW_STATE": str(self.directory / "state"),
            "DEVFLOW_CONFIG": str(self.directory / "config.toml"),
            "DEVFLOW_TOKEN": str(self.user.token),
            "DEVFLOW_URL": url or self.platform.url,
        }

    def start(
        self,
        name: str,
        code: str,
        *more: str,
        pace: str = SHORT_INTERVALS,
        sandbox: str = "none",
        **env: str,
    ) -> AgentProcess:
        """Start a registered agent, which is killed at the end of the test.

        Most engines of the tests write into the test's directory, which a sandbox would not show.
        """
        log = self.directory / f"{name}-{uuid.uuid4().hex[:4]}.log"
        command = ["agent", "start", "--name", name, "--command", self.program(code), "--pace", pace]
        command += ["--sandbox", sandbox]
        command += [] if "--allow-protocol" in more else ["--allow-protocol", "file"]
        prefix, stdin = ([], subprocess.DEVNULL) if self.terminal is None else (["setsid", "--ctty"], self.terminal)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "devflow", *command, *more], env=self.env() | env, cwd=self.directory,
                stdin=stdin, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        return AgentProcess(process, log)

    def submit(self, **more: Any) -> str:
        task = more.get("taskId") or f"task-{uuid.uuid4()}"
        body = {"taskId": task, "intent": self.intent, "repo": str(self.origin), "naturalLanguage": "Fix the login"}
        response = self.user.post("/api/workflows/execute", body | more)
        assert response.status == 202, response
        return str(task)

    def task(self, task: str) -> dict[str, Any]:
        body: dict[str, Any] = self.user.get(f"/api/tasks/{task}").json()
        return body

    def wait_for_end(self, task: str) -> dict[str, Any]:
        """Wait until the task has ended and return it."""
        ends = ("completed", "failed", "cancelled")
        wait_until(lambda: self.task(task)["status"] in ends, lambda: self.task(task))
        return self.task(task)

    def advance_until_end(self, task: str) -> dict[str, Any]:
        """Advance the platform's clock until the task has ended, and return it. Heartbeats are then seconds apart."""

        def has_ended() -> bool:
            self.platform.advance(10)
            return self.task(task)["completedAt"] is not None

        wait_until(has_ended, lambda: self.task(task))
        return self.task(task)

    def timeline(self, task: str) -> list[tuple[str, int]]:
        """Return the types of the events with their attempts, without steps."""
        events = self.user.get(f"/api/tasks/{task}/events?limit=100").json()["data"]
        events_seen = [(event["type"].removeprefix("task."), event["attempt"]) for event in events]
        return [event for event in events_seen if event[0] != "step"]

    def branches(self) -> list[str]:
        branches = git("for-each-ref", "--format=%(refname:short)", "refs/heads/devflow", cwd=self.origin)
        return [branch.removeprefix("devflow/") for branch in branches.split()]

    def runs(self) -> list[str]:
        """Return the lines that `note` has written, one for each start of a program."""
        path = self.directory / "runs"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    @property
    def note(self) -> str:
        """Code that writes the task, the attempt and the process id for `runs`."""
        return (
            "import os, sys, time, json\n"
            f"open({str(self.directory / 'runs')!r}, 'a').write("
            "f\"{os.environ['DEVFLOW_TASK_ID']} {os.environ['DEVFLOW_ATTEMPT']} {os.getpid()}\\n\")\n"
        )

    @property
    def fix(self) -> str:
        """Code that fixes the bug."""
        return self.note + "open('login.py', 'w').write('fixed\\n'); print('Fixed it')\n"

    def gate(self, name: str = "go") -> str:
        """Code that waits until `open_gate` is called."""
        return f"while not os.path.exists({str(self.directory / name)!r}): time.sleep(0.02)\n"

    def open_gate(self, name: str = "go") -> None:
        (self.directory / name).touch()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform for one module, whose tests advance its clock."""
    started = Platform(tmp_path_factory.mktemp("stage") / "log")
    yield started
    started.stop()


@pytest.fixture
def scenario(stage: Platform, tmp_path: Path, machine: Path) -> Iterator[Scenario]:
    with ExitStack() as cleanup:
        scenario = Scenario(stage, tmp_path, cleanup)
        yield scenario
        cleanup.close()
        for name in scenario.names:  # agents of this test must not get tasks of the next one
            scenario.user.delete(f"/api/agents/{name}")


def read_token(scenario: Scenario, name: str) -> str:
    """Read the token of an agent from its registration."""
    path = scenario.directory / "state" / "agents" / name / "registration.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["token"])
