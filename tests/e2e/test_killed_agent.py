"""The reference agent on a machine that dies (SIGKILL) at each step of the protocol, and what becomes of its task.

A relay between the agent and the stage holds one of its calls. While the agent waits for the answer it is killed, and
only then the call gets lost or goes on its way: so each death is at its step exactly. The clock is moved, not slept.
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
"""Seconds that a claim holds without a further poll (docs/protocol.md, as the next one)."""
LOST_AFTER = 600
"""Seconds of silence after which a run is lost."""
SOONER = 20
"""Seconds before such a time at which nothing may have happened yet: more than the real time that a step takes."""

STEPS = ["Starting", "Reading the code", "Making the change", "Running tests"]


class Call(NamedTuple):
    """A request, as it came from an agent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Relay(ThreadingHTTPServer):
    """Passes an agent's calls on, but holds the `nth` to a path that ends with `halt`, until told otherwise."""

    daemon_threads = True

    def __init__(self, url: str, halt: str, nth: int) -> None:
        super().__init__(("127.0.0.1", 0), RelayedCall)
        self.target = urlsplit(url).netloc
        self.halt, self.left = halt, nth
        self.held: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.told, self.goes_on = threading.Event(), False
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def swallows(self, call: Call) -> bool:
        if call.path.partition("?")[0].endswith(f"/{self.halt}"):
            self.left -= 1
            if self.left == 0:
                self.held.put(call)
                self.told.wait()
                return not self.goes_on
        return False

    def pass_on(self, call: Call) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=SECONDS)
        try:
            connection.request(call.method, call.path, call.body or None, call.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self) -> None:
        self.told.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class RelayedCall(BaseHTTPRequestHandler):
    server: Relay

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        call = Call(self.command, self.path, kept, body)
        if self.server.swallows(call):
            return
        status, content = self.server.pass_on(call)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = relay  # noqa: N815  # named by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Nothing: the test says what matters."""


class Machine(NamedTuple):
    """A process of the reference agent that waits for the answer to a call, which the relay holds."""

    process: subprocess.Popen[bytes]
    relay: Relay
    call: Call

    def die(self) -> Machine:
        self.process.kill()
        assert self.process.wait(SECONDS) == -signal.SIGKILL
        return self

    def send(self) -> int:
        """Let the call arrive, which may be long after the machine died; the status that it got."""
        return self.relay.pass_on(self.call)[0]

    def go_on(self) -> None:
        """Let the call arrive and the agent do the rest of its task."""
        self.relay.goes_on = True
        self.relay.told.set()
        assert self.process.wait(SECONDS) == 0


class Scene:
    """One task, a machine that dies on it, and another one."""

    def __init__(self, stage: Platform, user: Client, logs: Path, ending: ExitStack) -> None:
        self.stage, self.user, self.logs, self.ending = stage, user, logs, ending
        self.intent = f"killed-{uuid.uuid4()}"
        self.first, self.second = f"{self.intent}-first", f"{self.intent}-second"

    def submit(self, **more: Any) -> str:
        """A new task's id; it is claimable when this returns."""
        task = f"task-{uuid.uuid4()}"
        body = {"taskId": task, "intent": self.intent, "repo": "https://github.com/u/r", "naturalLanguage": "Anything"}
        answer = self.user.post("/api/workflows/execute", body | more)
        assert answer.status == 202, answer
        self.stage.advance(0.001)
        return task

    def start(self, agent: str, url: str) -> subprocess.Popen[bytes]:
        """A process of the reference agent, which ends after its first task."""
        arguments = ["--url", url, "--agent-id", agent, "--capability", self.intent, "--once"]
        with (self.logs / agent).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, AGENT, *arguments],
                env=os.environ | {"DEVFLOW_TOKEN": str(self.user.token)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.ending.callback(process.wait)
        self.ending.callback(process.kill)
        return process

    def halt(self, agent: str, halt: str, nth: int = 1) -> Machine:
        """A machine that has come as far as its `nth` call to a path that ends with `halt`."""
        relay = Relay(self.stage.url, halt, nth)
        self.ending.callback(relay.end)
        process = self.start(agent, f"http://127.0.0.1:{relay.server_port}")
        try:
            return Machine(process, relay, relay.held.get(timeout=SECONDS))
        except queue.Empty:
            pytest.fail(f"it made no such call: {self.said(agent)}")

    def work(self, agent: str) -> None:
        """Let a machine that stays alive do one task."""
        assert self.start(agent, self.stage.url).wait(SECONDS) == 0, self.said(agent)

    def said(self, agent: str) -> str:
        return (self.logs / agent).read_text(encoding="utf-8")

    def shown(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.user.get(f"/api/tasks/{task}").json()
        return found

    def stand(self, task: str) -> tuple[str, int, str | None]:
        """Its status, its attempt, and who holds it or held it last."""
        shown = self.shown(task)
        return shown["status"], shown["attempt"], shown["agentId"]

    def timeline(self, task: str) -> list[tuple[str, int, str | None]]:
        """Of each event what happened, in which attempt, and to whom."""
        answer = self.user.get(f"/api/tasks/{task}/events")
        assert answer.status == 200, answer
        told = [(event["type"], event["attempt"], event["agentId"]) for event in answer.json()["data"]]
        assert told[:2] == [("task.created", 1, None), ("task.queued", 1, None)]
        return told[2:]


def claimed(agent: str, attempt: int = 1) -> list[tuple[str, int, str]]:
    return [("task.assigned", attempt, agent)]


def begun(agent: str, attempt: int, steps: int) -> list[tuple[str, int, str]]:
    """What a timeline tells of an agent that came as far as this step."""
    told = [("task.started", attempt, agent), *[("task.step", attempt, agent)] * (len(STEPS) - 1)]
    return [*claimed(agent, attempt), *told[:steps]]


def done(agent: str, attempt: int = 1) -> list[tuple[str, int, str]]:
    """What it tells of one that does the whole task."""
    return [*begun(agent, attempt, len(STEPS)), ("task.completed", attempt, agent)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A stage for this module alone: its clock is moved by hours."""
    started = Platform(tmp_path_factory.mktemp("killed") / "log")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def user(stage: Platform) -> Client:
    return stage.client.login()


@pytest.fixture
def scene(stage: Platform, user: Client, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as ending:
        yield Scene(stage, user, tmp_path, ending)


@pytest.mark.parametrize("last", ["heartbeat", "commands"])
def test_task_stays_queued_if_the_agent_is_killed_before_its_poll(scene: Scene, last: str) -> None:
    task = scene.submit(maxAttempts=1)

    scene.halt(scene.first, last).die()

    assert scene.user.get(f"/api/agents/{scene.first}").json()["status"] == "active", "it was registered"
    assert scene.stand(task) == ("queued", 1, None)
    scene.work(scene.second)
    assert scene.stand(task) == ("completed", 1, scene.second)
    assert scene.timeline(task) == done(scene.second)


@pytest.mark.parametrize(
    ("last", "then"),
    [("commands", "arrives"), ("progress", "is lost")],
    ids=["before its poll is answered", "before its first progress arrives"],
)
def test_claim_of_a_killed_agent_expires_without_using_an_attempt(scene: Scene, last: str, then: str) -> None:
    task = scene.submit(maxAttempts=1)

    dead = scene.halt(scene.first, last).die()
    if then == "arrives":
        assert dead.send() == 200

    scene.stage.advance(LEASE - SOONER)
    assert scene.stand(task) == ("assigned", 1, scene.first)
    scene.stage.advance(SOONER)
    assert scene.stand(task) == ("queued", 1, None)
    scene.work(scene.second)
    assert scene.stand(task) == ("completed", 1, scene.second)
    assert scene.timeline(task) == [
        *claimed(scene.first),
        ("task.requeued", 1, scene.first),
        *done(scene.second),
    ]


@pytest.mark.parametrize(
    ("last", "nth", "then", "steps"),
    [
        ("progress", 1, "arrives", 1),
        ("progress", 2, "is lost", 1),
        ("progress", 4, "is lost", 3),
        ("complete", 1, "is lost", 4),
    ],
    ids=["with its first progress on its way", "just begun", "in the middle", "when all is done but not told"],
)
def test_running_task_of_a_killed_agent_is_retried_after_ten_minutes(
    scene: Scene, last: str, nth: int, then: str, steps: int
) -> None:
    task = scene.submit()

    dead = scene.halt(scene.first, last, nth).die()
    if then == "arrives":
        assert dead.send() == 200

    scene.stage.advance(LOST_AFTER - SOONER)
    assert scene.stand(task) == ("in_progress", 1, scene.first)
    assert scene.shown(task)["currentStep"] == STEPS[steps - 1]
    scene.stage.advance(SOONER)
    assert scene.stand(task) == ("queued", 2, None)
    scene.work(scene.second)
    assert scene.stand(task) == ("completed", 2, scene.second)
    assert scene.timeline(task) == [
        *begun(scene.first, 1, steps),
        ("task.requeued", 2, scene.first),
        *done(scene.second, 2),
    ]


def test_task_fails_if_the_agent_of_its_last_attempt_is_killed(scene: Scene) -> None:
    task = scene.submit(maxAttempts=1)

    dead = scene.halt(scene.first, "complete").die()
    scene.stage.advance(LOST_AFTER - SOONER)
    assert scene.stand(task) == ("in_progress", 1, scene.first)
    scene.stage.advance(SOONER)

    ended = scene.shown(task)
    assert (ended["status"], ended["error"]) == ("failed", "Agent lost")
    assert scene.user.get(f"/api/agents/{scene.first}").json()["status"] == "inactive"
    assert dead.send() == 409
    assert scene.shown(task) == ended
    assert scene.timeline(task) == [*begun(scene.first, 1, len(STEPS)), ("task.failed", 1, scene.first)]


def test_result_that_arrives_after_the_agent_is_killed_counts(scene: Scene) -> None:
    task = scene.submit()

    dead = scene.halt(scene.first, "complete").die()
    assert dead.send() == 200
    ended = scene.shown(task)
    scene.stage.advance(LOST_AFTER)
    other = scene.submit(priority=-1)
    scene.work(scene.second)

    assert scene.stand(other) == ("completed", 1, scene.second), "it was offered this one alone"
    assert scene.shown(task) == ended
    assert scene.stand(task) == ("completed", 1, scene.first)
    assert scene.timeline(task) == done(scene.first)


@pytest.mark.parametrize(
    ("last", "after", "attempt"),
    [("progress", LEASE, 1), ("complete", LOST_AFTER, 2)],
    ids=["its first progress", "its result"],
)
def test_late_report_of_a_killed_agent_is_rejected(scene: Scene, last: str, after: int, attempt: int) -> None:
    task = scene.submit()

    dead = scene.halt(scene.first, last).die()
    scene.stage.advance(after)

    assert dead.send() == 409
    assert scene.stand(task) == ("queued", attempt, None)
    alive = scene.halt(scene.second, "complete")
    assert dead.send() == 409
    assert scene.stand(task) == ("in_progress", attempt, scene.second)
    alive.go_on()
    ended = scene.shown(task)
    assert dead.send() == 409
    assert scene.shown(task) == ended
    assert scene.stand(task) == ("completed", attempt, scene.second)
    mine = done(scene.second, attempt)
    assert scene.timeline(task)[-len(mine) :] == mine


def test_restarted_agent_runs_its_claimed_task_immediately(scene: Scene) -> None:
    task = scene.submit(maxAttempts=1)

    scene.halt(scene.first, "progress").die()
    scene.work(scene.first)

    assert scene.stand(task) == ("completed", 1, scene.first)
    assert scene.timeline(task) == done(scene.first)
