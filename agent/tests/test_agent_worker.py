"""AgentWorker with a fake clock: outages, token renewal and shutdown."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.agent_state import AgentState, Registration
from devflow.agent_worker import AgentWorker, WorkerConfig
from devflow.credentials import Credentials
from devflow.engines.command import make_command_engine
from devflow.errors import AlreadyRunningError, NotLoggedInError, RequestRejectedError
from devflow.intervals import Intervals
from devflow.job_runner import JobContext
from devflow.outbox import Outbox, TaskResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

HOUR, DAY = 3600.0, 24 * 3600.0
HEARTBEAT, POLL = "/api/agents/build-1/heartbeat", "/api/agents/build-1/commands?limit=1"


def accept(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith("/heartbeat"):
        return FakeResponse(200, {"success": True, "nextPollInterval": 5000, "status": "active", "cancel": []})
    if "/commands" in request.path:
        return FakeResponse(200, {"commands": [], "nextPollInterval": 30_000})
    return FakeResponse(200, {"success": True})


class Scenario:
    """An agent with a fake clock, which jumps from one due time to the next."""

    def __init__(self, tmp_path: Path, platform: FakePlatform, **intervals: float) -> None:
        self.platform, self.log_lines = platform, []
        self.clock = FakeClock(self._waited)
        self.state = AgentState(tmp_path / "state", "build-1")
        self.state.save_registration(Registration(platform.url, "build-1", "token-1", self.clock.epoch_seconds()))
        self.at: list[tuple[float, Callable[[], object]]] = []
        self.intervals = Intervals(**intervals)
        self.worker = AgentWorker(
            self.state,
            Credentials(self.state, self.clock),
            WorkerConfig(intervals=self.intervals),
            self._make_job_context,
            self.log_lines.append,
            clock=self.clock,
            jitter=lambda: 0.0,
        )
        self.started_at = self.clock.time

    log_lines: list[str]

    def _make_job_context(self, worker: AgentWorker) -> JobContext:
        return JobContext(
            self.state.directory,
            make_command_engine("true"),
            worker.client,
            Outbox(self.state.directory / "outbox"),
            worker.send_result,
            worker.log,
            worker.handle_unauthorized,
            self.intervals,
            allowed_protocols=["file"],
        )

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Call `do` when the agent's clock has advanced by `seconds`."""
        self.at.append((self.clock.time + seconds, do))

    def _waited(self, now: float) -> None:
        due = [item for item in self.at if item[0] <= now]
        for item in due:
            self.at.remove(item)
            item[1]()

    def paths(self) -> list[str]:
        return [request.path for request in self.platform.requests]


@pytest.fixture
def make_scenario(tmp_path: Path, start_platform: Callable[..., FakePlatform]) -> Callable[..., Scenario]:
    def make(respond: Callable[[ReceivedRequest], FakeResponse] = accept, **intervals: float) -> Scenario:
        return Scenario(tmp_path, start_platform(respond), **intervals)

    return make


def test_worker_sends_heartbeats_polls_at_the_given_interval_and_disconnects(
    make_scenario: Callable[..., Scenario],
) -> None:
    scenario = make_scenario()
    scenario.after(300, scenario.worker.drain)
    scenario.worker.run()

    assert scenario.paths().count(HEARTBEAT) == 3 + 1, "three after the start, and one to disconnect"
    assert scenario.paths().count(POLL) == 10
    first, *_, last = scenario.platform.bodies("/heartbeat")
    assert (first["status"], first["taskIds"], first["version"]) == ("ready", [], "0.1.0")
    assert (last["status"], "version" in last) == ("disconnected", False)
    assert {body["instanceId"] for body in scenario.platform.bodies("/heartbeat")} == {
        scenario.state.load_instance_id()
    }


def test_worker_resumes_after_an_outage_of_an_hour(make_scenario: Callable[..., Scenario]) -> None:
    unavailable = False
    scenario = make_scenario(lambda request: FakeResponse(503, {}) if unavailable else accept(request))

    def set_unavailable(value: bool) -> None:  # noqa: FBT001
        nonlocal unavailable
        unavailable = value

    scenario.after(100, lambda: set_unavailable(True))
    scenario.after(100 + HOUR, lambda: set_unavailable(False))
    scenario.after(100 + HOUR + 300, scenario.worker.drain)
    scenario.worker.run()

    (unavailable_line,) = (line for line in scenario.log_lines if "is unavailable" in line)
    (available_again,) = (line for line in scenario.log_lines if "the platform is available again" in line)
    assert scenario.log_lines.index(unavailable_line) < scenario.log_lines.index(available_again)
    assert 60 < scenario.paths().count(POLL) + scenario.paths().count(HEARTBEAT) < 130, (
        "about one request a minute during the outage"
    )


def test_result_of_an_earlier_run_is_sent_and_its_task_stays_held_until_then(
    make_scenario: Callable[..., Scenario],
) -> None:
    released = threading.Event()

    def respond(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/complete"):
            assert released.wait(30)
        return accept(request)

    scenario = make_scenario(respond)
    result = TaskResult("task-1", 1, "task-1-attempt-1", "complete", {"success": True, "attempt": 1})
    Outbox(scenario.state.directory / "outbox").save(result)
    restarted = Scenario(scenario.state.directory.parent.parent.parent, scenario.platform)

    def release() -> None:
        released.set()
        while restarted.worker.result_sender.pending_attempts():
            time.sleep(0.001)  # the sender's thread has its own clock
        restarted.worker.drain()

    restarted.after(65, release)
    restarted.worker.run()

    assert scenario.platform.bodies("/complete") == [result.body]
    assert scenario.platform.bodies("/heartbeat")[0]["taskIds"] == ["task-1"]
    assert scenario.platform.bodies("/heartbeat")[-1]["taskIds"] == []
    assert "sending 1 unsent result(s) of an earlier run" in restarted.log_lines


def test_draining_worker_waits_a_limited_time_for_unsent_results(make_scenario: Callable[..., Scenario]) -> None:
    scenario = make_scenario(
        lambda request: FakeResponse(503, {}) if request.path.endswith("/complete") else accept(request)
    )
    result = TaskResult("task-1", 1, "task-1-attempt-1", "complete", {"success": True, "attempt": 1})
    outbox = Outbox(scenario.state.directory / "outbox")
    outbox.save(result)
    scenario.worker.send_result(result)
    scenario.after(10, scenario.worker.drain)
    scenario.worker.run()

    assert scenario.clock.time - scenario.started_at == pytest.approx(10 + scenario.intervals.shutdown, abs=40)
    assert outbox.load_all() == [result]
    assert any("are kept in" in line for line in scenario.log_lines)


@pytest.mark.parametrize("first", ["heartbeat", "commands"])
def test_rejected_token_ends_the_worker(make_scenario: Callable[..., Scenario], first: str) -> None:
    scenario = make_scenario(lambda request: make_error(401) if first in request.path else accept(request))

    with pytest.raises(NotLoggedInError, match="--replace"):
        scenario.worker.run()
    assert scenario.paths()[-1].split("?")[0].endswith(first), "the agent does not disconnect"


def test_token_that_another_process_changed_is_used(make_scenario: Callable[..., Scenario]) -> None:
    valid = "token-1"
    scenario = make_scenario(lambda request: accept(request) if request.token == valid else make_error(401))

    def rotate() -> None:
        nonlocal valid
        valid = "token-2"
        scenario.state.save_registration(
            Registration(scenario.platform.url, "build-1", valid, scenario.clock.epoch_seconds())
        )

    scenario.after(40, rotate)
    scenario.after(200, scenario.worker.drain)
    scenario.worker.run()

    assert "the token was renewed by another process" in scenario.log_lines
    assert scenario.platform.requests[-1].token == "token-2"


def test_worker_renews_its_token_before_it_expires(make_scenario: Callable[..., Scenario]) -> None:
    def respond(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/token"):
            return FakeResponse(201, {"success": True, "agent": {}, "token": "token-2"})
        return accept(request)

    scenario = make_scenario(respond)
    scenario.after(200, lambda: setattr(scenario.clock, "epoch", scenario.clock.epoch + 20 * DAY))
    scenario.after(400, scenario.worker.drain)
    scenario.worker.run()

    assert scenario.paths().count("/api/agents/build-1/token") == 1
    assert scenario.state.load_registration().token == "token-2"
    assert {request.token for request in scenario.platform.requests[-3:]} == {"token-2"}


@pytest.mark.parametrize("restarted", [False, True])
def test_worker_uses_the_previous_token_if_the_renewed_one_has_lapsed(
    make_scenario: Callable[..., Scenario],
    restarted: bool,  # noqa: FBT001
) -> None:
    """The platform was unreachable for so long after the renewal that the new token lapsed before its first use."""
    lapsed, valid = "token-2", "token-1"

    def respond(request: ReceivedRequest) -> FakeResponse:
        nonlocal valid
        if request.token != valid:
            return make_error(401)
        if not request.path.endswith("/token"):
            return accept(request)
        if restarted or request.path in scenario.paths():
            valid = "token-3"
            return FakeResponse(201, {"success": True, "agent": {}, "token": valid})
        return FakeResponse(201, {"success": True, "agent": {}, "token": lapsed})

    scenario = make_scenario(respond)
    if restarted:
        credentials = scenario.worker.credentials
        credentials.registration = replace(credentials.registration, token=lapsed, previous_token="token-1")
        scenario.state.save_registration(credentials.registration)
    else:
        scenario.clock.epoch += 20 * DAY
    scenario.after(2 * HOUR, scenario.worker.drain)
    scenario.worker.run()

    stored = scenario.state.load_registration()
    assert (stored.token, stored.previous_token) == ("token-3", None)
    assert scenario.platform.requests[-1].token == "token-3"


def test_renewal_that_is_rejected_does_not_end_the_worker(make_scenario: Callable[..., Scenario]) -> None:
    scenario = make_scenario(
        lambda request: make_error(409, message="Not active") if request.path.endswith("/token") else accept(request)
    )
    scenario.clock.epoch += 20 * DAY
    scenario.after(2 * HOUR + 100, scenario.worker.drain)
    scenario.worker.run()

    assert scenario.paths().count("/api/agents/build-1/token") == 3
    assert [line for line in scenario.log_lines if "the token cannot be renewed" in line and "Not active" in line]


def test_failed_renewal_is_retried_later_and_does_not_block_polling(make_scenario: Callable[..., Scenario]) -> None:
    scenario = make_scenario(
        lambda request: FakeResponse(503, {}) if request.path.endswith("/token") else accept(request)
    )
    scenario.clock.epoch += 20 * DAY
    scenario.after(2 * HOUR + 100, scenario.worker.drain)
    scenario.worker.run()

    assert scenario.paths().count("/api/agents/build-1/token") == 3
    assert scenario.paths().count(POLL) > 200
    assert scenario.state.load_registration().token == "token-1"


def test_conflict_with_another_instance_ends_the_worker_after_150_s(make_scenario: Callable[..., Scenario]) -> None:
    """Until then, the other instance may be one that was killed."""
    scenario = make_scenario(lambda _: make_error(409, message="Another instance is running."))

    with pytest.raises(AlreadyRunningError, match="elsewhere: Another instance is running"):
        scenario.worker.run()
    assert 150 < scenario.clock.time - scenario.started_at < 230
    assert set(scenario.paths()) == {HEARTBEAT}
    assert 5 < len(scenario.paths()) < 30
    assert len([line for line in scenario.log_lines if "elsewhere" in line]) == 1


def test_worker_starts_once_a_killed_instance_is_no_longer_live(make_scenario: Callable[..., Scenario]) -> None:
    def respond(request: ReceivedRequest) -> FakeResponse:
        return make_error(409) if scenario.clock.time < scenario.started_at + 140 else accept(request)

    scenario: Scenario = make_scenario(respond)
    scenario.after(300, scenario.worker.drain)
    scenario.worker.run()
    assert "build-1 is active" in scenario.log_lines
    assert [path for path in scenario.paths() if "/commands" in path]


def test_conflict_with_an_instance_that_started_later_ends_the_worker(make_scenario: Callable[..., Scenario]) -> None:
    def respond(request: ReceivedRequest) -> FakeResponse:
        return accept(request) if scenario.clock.time < scenario.started_at + 100 else make_error(409)

    scenario: Scenario = make_scenario(respond)
    with pytest.raises(AlreadyRunningError):
        scenario.worker.run()
    assert scenario.clock.time - scenario.started_at < 200


ANOTHER_TASK: dict[str, Any] = {
    "task_id": "task-1", "intent": "explain", "repo": "file:///nowhere", "branch": None, "description": "d",
    "context": {}, "created_at": "2026-01-01T00:00:00Z", "attempt": 1, "timeoutSeconds": 60,
}  # fmt: skip


def test_worker_polls_again_soon_if_a_poll_returns_a_task_that_it_has_just_started(
    make_scenario: Callable[..., Scenario],
) -> None:
    """The first progress report was still under way, so the platform counted the task against the limit of the poll."""
    started = threading.Event()

    def respond(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/progress"):
            assert started.wait(30)
            return make_error(409)
        if "/commands" in request.path:
            polls.append(scenario.clock.time)
            return FakeResponse(200, {"commands": [ANOTHER_TASK], "nextPollInterval": 30_000})
        return accept(request)

    polls: list[float] = []
    scenario = make_scenario(respond)
    scenario.worker.config.concurrency = 2
    scenario.after(100, started.set)
    scenario.after(100, scenario.worker.drain)
    scenario.worker.run()
    pauses = [after - before for before, after in itertools.pairwise(polls)][:4]
    assert pauses in ([30, 1, 30, 1], [1, 30, 1, 30])


def test_first_heartbeat_can_be_waited_for(make_scenario: Callable[..., Scenario]) -> None:
    scenario = make_scenario()
    assert not scenario.worker.wait_for_first_heartbeat(0)
    scenario.after(100, scenario.worker.drain)
    scenario.worker.run()
    assert scenario.worker.wait_for_first_heartbeat(0)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_rejected_poll_ends_the_worker(make_scenario: Callable[..., Scenario], status: int) -> None:
    scenario = make_scenario(lambda request: make_error(status) if "/commands" in request.path else accept(request))
    with pytest.raises(RequestRejectedError):
        scenario.worker.run()


def test_invalid_task_in_a_poll_is_ignored(make_scenario: Callable[..., Scenario]) -> None:
    commands: list[Any] = [{"task_id": "task-1"}, {}]
    scenario = make_scenario(
        lambda request: (
            FakeResponse(200, {"commands": commands, "nextPollInterval": 30_000})
            if "/commands" in request.path
            else accept(request)
        )
    )
    scenario.after(40, scenario.worker.drain)
    scenario.worker.run()

    assert any("ignored a task that is not valid" in line for line in scenario.log_lines)
