"""The reference agent is killed (SIGKILL) at each step of the protocol, and its task continues as specified.

A relay between the agent and the stage holds back one request. The agent is killed while it waits for the response.
After that the request is dropped or forwarded. So each kill happens at exactly one step. The clock is moved, not slept.
"""

from __future__ import annotations

import http.client
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client

AGENT = Path(__file__).parents[2] / "examples" / "agent.py"
SECONDS = 30

LEASE = 60
"""Seconds after which a claim expires without another poll (docs/protocol.md)."""
LOST_AFTER = 600
"""Seconds of silence after which an agent's running task is lost (docs/protocol.md)."""
MARGIN = 20
"""Seconds before a deadline at which nothing may have happened yet. More than the real time that a step takes."""

STEPS = ["Starting", "Reading the code", "Making the change", "Running tests"]


class RelayedRequest(NamedTuple):
    """A request of an agent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Relay(ThreadingHTTPServer):
    """Forwards the requests of an agent, except the `nth` request to a path that ends with `pause_at`.

    That request is held back until the relay is released.
    """

    daemon_threads = True

    def __init__(self, url: str, pause_at: str, nth: int) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.target = urlsplit(url).netloc
        self.pause_at, self.left = pause_at, nth
        self.held: queue.SimpleQueue[RelayedRequest] = queue.SimpleQueue()
        self.released, self.forwards_held = threading.Event(), False
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def drops(self, request: RelayedRequest) -> bool:
        """Whether to drop a request. Blocks while the request is held back."""
        if request.path.partition("?")[0].endswith(f"/{self.pause_at}"):
            self.left -= 1
            if self.left == 0:
                self.held.put(request)
                self.released.wait()
                return not self.forwards_held
        return False

    def forward(self, request: RelayedRequest) -> tuple[int, bytes]:
        """Send a request to the stage. Returns the status and the body of the response."""
        connection = http.client.HTTPConnection(self.target, timeout=SECONDS)
        try:
            connection.request(request.method, request.path, request.body or None, request.headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class RelayHandler(BaseHTTPRequestHandler):
    server: Relay

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        request = RelayedRequest(self.command, self.path, headers, body)
        if self.server.drops(request):
            return
        status, content = self.server.forward(request)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = relay  # noqa: N815  # named by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Log nothing."""


class PausedAgent(NamedTuple):
    """A process of the reference agent that waits for the response to a request, which the relay holds back."""

    process: subprocess.Popen[bytes]
    relay: Relay
    request: RelayedRequest

    def kill(self) -> PausedAgent:
        self.process.kill()
        assert self.process.wait(SECONDS) == -signal.SIGKILL
        return self

    def send(self) -> int:
        """Send the held request now, possibly long after the agent was killed. Returns the status of the response."""
        return self.relay.forward(self.request)[0]

    def resume(self) -> None:
        """Forward the held request, and let the agent finish its task."""
        self.relay.forwards_held = True
        self.relay.released.set()
        assert self.process.wait(SECONDS) == 0


class Scenario:
    """One task, an agent that is killed during it, and a second agent."""

    def __init__(self, stage: Platform, user: Client, logs: Path, stack: ExitStack) -> None:
        self.stage, self.user, self.logs, self.stack = stage, user, logs, stack
        self.intent = f"killed-{uuid.uuid4()}"
        self.first, self.second = f"{self.intent}-first", f"{self.intent}-second"

    def submit(self, **more: Any) -> str:
        """Submit a task and return its id. The task is claimable when this returns."""
        task = f"task-{uuid.uuid4()}"
        body = {"taskId": task, "intent": self.intent, "repo": "https://github.com/u/r", "naturalLanguage": "Anything"}
        response = self.user.post("/api/workflows/execute", body | more)
        assert response.status == 202, response
        self.stage.advance(0.001)
        return task

    def start(self, agent: str, url: str) -> subprocess.Popen[bytes]:
        """Start a process of the reference agent, which exits after its first task."""
        arguments = ["--url", url, "--agent-id", agent, "--capability", self.intent, "--once"]
        with (self.logs / agent).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, AGENT, *arguments],
                env=os.environ | {"DEVFLOW_TOKEN": str(self.user.token)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def pause(self, agent: str, pause_at: str, nth: int = 1) -> PausedAgent:
        """Start an agent and hold back its `nth` request to a path that ends with `pause_at`."""
        relay = Relay(self.stage.url, pause_at, nth)
        self.stack.callback(relay.close)
        process = self.start(agent, f"http://127.0.0.1:{relay.server_port}")
        try:
            return PausedAgent(process, relay, relay.held.get(timeout=SECONDS))
        except queue.Empty:
            pytest.fail(f"the agent sent no such request: {self.output(agent)}")

    def run(self, agent: str) -> None:
        """Let an agent complete one task."""
        assert self.start(agent, self.stage.url).wait(SECONDS) == 0, self.output(agent)

    def output(self, agent: str) -> str:
        return (self.logs / agent).read_text(encoding="utf-8")

    def task(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.user.get(f"/api/tasks/{task}").json()
        return found

    def state(self, task: str) -> tuple[str, int, str | None]:
        """The status, the attempt, and the current or last agent of a task."""
        found = self.task(task)
        return found["status"], found["attempt"], found["agentId"]

    def timeline(self, task: str) -> list[tuple[str, int, str | None]]:
        """The type, attempt and agent of each event after the task was queued for the first time."""
        response = self.user.get(f"/api/tasks/{task}/events")
        assert response.status == 200, response
        events = [(event["type"], event["attempt"], event["agentId"]) for event in response.json()["data"]]
        assert events[:2] == [("task.created", 1, None), ("task.queued", 1, None)]
        return events[2:]


def claim_events(agent: str, attempt: int = 1) -> list[tuple[str, int, str]]:
    return [("task.assigned", attempt, agent)]


def events_until(agent: str, attempt: int, steps: int) -> list[tuple[str, int, str]]:
    """The events of an agent that has reported this number of steps."""
    events = [("task.started", attempt, agent), *[("task.step", attempt, agent)] * (len(STEPS) - 1)]
    return [*claim_events(agent, attempt), *events[:steps]]


def completed_events(agent: str, attempt: int = 1) -> list[tuple[str, int, str]]:
    """The events of an agent that completes the task."""
    return [*events_until(agent, attempt, len(STEPS)), ("task.completed", attempt, agent)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A stage for this module, which moves its clock by hours."""
    started = Platform(tmp_path_factory.mktemp("killed") / "log")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def user(stage: Platform) -> Client:
    return stage.client.login()


@pytest.fixture
def scenario(stage: Platform, user: Client, tmp_path: Path) -> Iterator[Scenario]:
    with ExitStack() as stack:
        yield Scenario(stage, user, tmp_path, stack)


@pytest.mark.parametrize("last", ["heartbeat", "commands"])
def test_task_stays_queued_if_the_agent_is_killed_before_its_poll(scenario: Scenario, last: str) -> None:
    task = scenario.submit(maxAttempts=1)

    scenario.pause(scenario.first, last).kill()

    assert scenario.user.get(f"/api/agents/{scenario.first}").json()["status"] == "active", "the agent is registered"
    assert scenario.state(task) == ("queued", 1, None)
    scenario.run(scenario.second)
    assert scenario.state(task) == ("completed", 1, scenario.second)
    assert scenario.timeline(task) == completed_events(scenario.second)


@pytest.mark.parametrize(
    ("last", "then"),
    [("commands", "arrives"), ("progress", "is lost")],
    ids=["before the response to its poll", "before its first progress arrives"],
)
def test_claim_of_a_killed_agent_expires_without_using_an_attempt(scenario: Scenario, last: str, then: str) -> None:
    task = scenario.submit(maxAttempts=1)

    killed = scenario.pause(scenario.first, last).kill()
    if then == "arrives":
        assert killed.send() == 200

    scenario.stage.advance(LEASE - MARGIN)
    assert scenario.state(task) == ("assigned", 1, scenario.first)
    scenario.stage.advance(MARGIN)
    assert scenario.state(task) == ("queued", 1, None)
    scenario.run(scenario.second)
    assert scenario.state(task) == ("completed", 1, scenario.second)
    assert scenario.timeline(task) == [
        *claim_events(scenario.first),
        ("task.requeued", 1, scenario.first),
        *completed_events(scenario.second),
    ]


@pytest.mark.parametrize(
    ("last", "nth", "then", "steps"),
    [
        ("progress", 1, "arrives", 1),
        ("progress", 2, "is lost", 1),
        ("progress", 4, "is lost", 3),
        ("complete", 1, "is lost", 4),
    ],
    ids=["while its first progress is sent", "after its start", "in the middle", "before its result arrives"],
)
def test_running_task_of_a_killed_agent_is_retried_after_ten_minutes(
    scenario: Scenario, last: str, nth: int, then: str, steps: int
) -> None:
    task = scenario.submit()

    killed = scenario.pause(scenario.first, last, nth).kill()
    if then == "arrives":
        assert killed.send() == 200

    scenario.stage.advance(LOST_AFTER - MARGIN)
    assert scenario.state(task) == ("in_progress", 1, scenario.first)
    assert scenario.task(task)["currentStep"] == STEPS[steps - 1]
    scenario.stage.advance(MARGIN)
    assert scenario.state(task) == ("queued", 2, None)
    scenario.run(scenario.second)
    assert scenario.state(task) == ("completed", 2, scenario.second)
    assert scenario.timeline(task) == [
        *events_until(scenario.first, 1, steps),
        ("task.requeued", 2, scenario.first),
        *completed_events(scenario.second, 2),
    ]


def test_task_fails_if_the_agent_of_its_last_attempt_is_killed(scenario: Scenario) -> None:
    task = scenario.submit(maxAttempts=1)

    killed = scenario.pause(scenario.first, "complete").kill()
    scenario.stage.advance(LOST_AFTER - MARGIN)
    assert scenario.state(task) == ("in_progress", 1, scenario.first)
    scenario.stage.advance(MARGIN)

    ended = scenario.task(task)
    assert (ended["status"], ended["error"]) == ("failed", "Agent lost")
    assert scenario.user.get(f"/api/agents/{scenario.first}").json()["status"] == "inactive"
    assert killed.send() == 409
    assert scenario.task(task) == ended
    assert scenario.timeline(task) == [*events_until(scenario.first, 1, len(STEPS)), ("task.failed", 1, scenario.first)]


def test_result_that_arrives_after_the_agent_is_killed_counts(scenario: Scenario) -> None:
    task = scenario.submit()

    killed = scenario.pause(scenario.first, "complete").kill()
    assert killed.send() == 200
    ended = scenario.task(task)
    scenario.stage.advance(LOST_AFTER)
    other = scenario.submit(priority=-1)
    scenario.run(scenario.second)

    assert scenario.state(other) == ("completed", 1, scenario.second), "the agent got only this task"
    assert scenario.task(task) == ended
    assert scenario.state(task) == ("completed", 1, scenario.first)
    assert scenario.timeline(task) == completed_events(scenario.first)


@pytest.mark.parametrize(
    ("last", "after", "attempt"),
    [("progress", LEASE, 1), ("complete", LOST_AFTER, 2)],
    ids=["its first progress", "its result"],
)
def test_late_report_of_a_killed_agent_is_rejected(scenario: Scenario, last: str, after: int, attempt: int) -> None:
    task = scenario.submit()

    killed = scenario.pause(scenario.first, last).kill()
    scenario.stage.advance(after)

    assert killed.send() == 409
    assert scenario.state(task) == ("queued", attempt, None)
    second = scenario.pause(scenario.second, "complete")
    assert killed.send() == 409
    assert scenario.state(task) == ("in_progress", attempt, scenario.second)
    second.resume()
    ended = scenario.task(task)
    assert killed.send() == 409
    assert scenario.task(task) == ended
    assert scenario.state(task) == ("completed", attempt, scenario.second)
    expected = completed_events(scenario.second, attempt)
    assert scenario.timeline(task)[-len(expected) :] == expected


def test_restarted_agent_runs_its_claimed_task_immediately(scenario: Scenario) -> None:
    task = scenario.submit(maxAttempts=1)

    scenario.pause(scenario.first, "progress").kill()
    scenario.run(scenario.first)

    assert scenario.state(task) == ("completed", 1, scenario.first)
    assert scenario.timeline(task) == completed_events(scenario.first)
