"""ProgressReporter: order, retries, cancel requests, lost tasks and the log file."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.api_client import ApiClient
from devflow.cancel_token import CancelReason, CancelToken
from devflow.errors import JobCancelledError
from devflow.intervals import Intervals
from devflow.log_file import CHUNK_BYTES, MAX_BYTES, LogFile
from devflow.progress_reporter import ProgressReporter
from devflow.redaction import add_secret
from devflow.task_assignment import TaskAssignment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

NO_REPEATS = Intervals(progress=3600, log=3600, flush=30)
TASK = TaskAssignment.from_json(
    {"task_id": "task-1", "attempt": 2, "intent": "fix-bug", "repo": "https://a.example/r", "description": "Fix it"}
)


class Server:
    """A platform that stores the log by offsets, like the real scenario."""

    def __init__(self) -> None:
        self.log = b""
        self.errors: list[FakeResponse] = []
        self.cancel = False
        self.truncated = False

    def __call__(self, request: ReceivedRequest) -> FakeResponse:
        assert request.body["attempt"] == 2
        if self.errors:
            return self.errors.pop(0)
        if request.path.endswith("/logs"):
            data = request.body["data"].encode()
            assert request.body["offset"] == len(self.log)
            self.log += data
            return FakeResponse(200, {"nextOffset": len(self.log), "truncated": self.truncated})
        return FakeResponse(200, {"success": True, "cancelRequested": self.cancel})


class Scenario:
    def __init__(self, platform: FakePlatform, tmp_path: Path, intervals: Intervals) -> None:
        self.platform, self.cancel_token, self.unauthorized = platform, CancelToken(), threading.Event()
        self.log_file = LogFile(tmp_path / "log")
        self.reporter = ProgressReporter(
            ApiClient(platform.url, "token"), TASK, self.log_file, self.cancel_token, intervals, jitter=lambda: 1.0,
            on_unauthorized=self.unauthorized.set,
        )  # fmt: skip
        self.reporter.start()

    def sent(self) -> list[Any]:
        """Return the steps and log chunks in the order of their arrival."""
        return [request.body.get("step", request.body.get("data")) for request in list(self.platform.requests)]

    def close(self) -> None:
        self.cancel_token.cancel(CancelReason.AGENT_SHUTDOWN)
        self.reporter._thread.join(30)
        assert not self.reporter._thread.is_alive()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def make_scenario(server: Server, start_platform: Callable[..., FakePlatform], tmp_path: Path) -> Any:
    created: list[Scenario] = []

    def make(intervals: Intervals = NO_REPEATS) -> Scenario:
        created.append(Scenario(start_platform(server), tmp_path, intervals))
        return created[-1]

    yield make
    for scenario in created:
        scenario.close()


def test_log_lines_are_sent_before_the_steps_that_follow_them(
    make_scenario: Callable[..., Scenario], server: Server
) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.reporter.log("one")
    scenario.reporter.log("two")
    scenario.reporter.report("Second", 0.5, "details")
    scenario.reporter.log("three")
    scenario.reporter.report("", 0.6)
    scenario.reporter.report("", 0.6)
    scenario.reporter.report_and_confirm("Third", 0.9)
    scenario.reporter.log("four")
    scenario.reporter.finish()

    assert "".join(text for text in scenario.sent() if "\n" in text) == "one\ntwo\nthree\nfour\n"
    assert server.log == b"one\ntwo\nthree\nfour\n"
    steps = scenario.platform.bodies("/progress")
    assert [(step["step"], step["progress"], step.get("details")) for step in steps] == [
        ("Starting", 0.0, None), ("Second", 0.5, "details"), ("Second", 0.6, None), ("Third", 0.9, None),
    ]  # fmt: skip
    sent = scenario.sent()
    assert "two\n" in "".join(sent[: sent.index("Second")])


def test_log_is_not_sent_before_the_task_has_started(make_scenario: Callable[..., Scenario]) -> None:
    scenario = make_scenario(Intervals(log=0.001))
    scenario.reporter.log("early")
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.platform.wait_for(lambda: len(scenario.platform.requests) >= 2)

    assert scenario.sent()[:2] == ["Starting", "early\n"]


def test_last_step_is_sent_again_until_a_cancel_request_arrives(
    make_scenario: Callable[..., Scenario], server: Server
) -> None:
    scenario = make_scenario(Intervals(progress=0.01, log=3600))
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.platform.wait_for(lambda: len(scenario.platform.requests) >= 4)
    assert not scenario.cancel_token

    server.cancel = True
    cancelled = threading.Event()
    scenario.cancel_token.add_listener(cancelled.set)
    assert cancelled.wait(30)

    assert scenario.cancel_token.reason is CancelReason.USER_REQUEST
    assert set(scenario.sent()) == {"Starting"}


@pytest.mark.parametrize("status", [404, 409])
def test_lost_task_cancels_the_job(make_scenario: Callable[..., Scenario], server: Server, status: int) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    server.errors = [make_error(status, message="attempt 2 is over: stop working on it")]

    with pytest.raises(JobCancelledError, match="attempt 2 is over"):
        scenario.reporter.report_and_confirm("Pushing", 0.9)

    assert scenario.cancel_token.reason is CancelReason.TASK_LOST
    scenario.reporter.log("late")
    scenario.reporter.finish()
    assert len(scenario.platform.requests) == 2, "nothing more is sent"
    with pytest.raises(JobCancelledError):
        scenario.reporter.report_and_confirm("Pushing", 0.9)


def test_cancel_during_a_confirmation_raises_an_error(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    server.cancel = True

    with pytest.raises(JobCancelledError, match="Cancelled"):
        scenario.reporter.report_and_confirm("Pushing", 0.9)


def test_reports_stay_in_order_through_errors(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    server.errors = [FakeResponse(503, {}), FakeResponse(502, b"<html>")]
    scenario.reporter.log("one")
    scenario.reporter.report("Second", 0.5)
    scenario.reporter.report_and_confirm("Third", 0.6)

    assert server.log == b"one\n"
    sent = scenario.sent()
    assert sent.index("Second") < sent.index("Third")


def test_rejected_token_is_reported(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    server.errors = [make_error(401)]
    scenario.reporter.report_and_confirm("Starting", 0.0)

    assert scenario.unauthorized.is_set()


def test_log_continues_at_the_offset_that_the_platform_expects(
    make_scenario: Callable[..., Scenario], server: Server
) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.reporter.log("one")
    scenario.reporter.report_and_confirm("Second", 0.1)
    server.log = b""
    server.errors = [make_error(416, "Wrong offset", details=["offset: 0"])]
    scenario.reporter.log("two")
    scenario.reporter.finish()

    assert server.log == b"one\ntwo\n"


def test_long_log_is_sent_in_chunks_of_whole_characters(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    line = "x" + "ä" * (CHUNK_BYTES * 3 // 4)
    scenario.reporter.log(line)
    server.errors = [make_error(413)]
    scenario.reporter.finish()

    assert server.log.decode() == line + "\n"


@pytest.mark.parametrize("how", ["truncated", "rejected"])
def test_rejected_log_does_not_keep_the_task_from_ending(
    make_scenario: Callable[..., Scenario], server: Server, how: str
) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.reporter.log("one")
    server.truncated = how == "truncated"
    server.errors = [make_error(400)] if how == "rejected" else []
    scenario.reporter.report_and_confirm("Second", 0.1)
    scenario.reporter.log("two")
    scenario.reporter.finish()

    assert len(scenario.platform.bodies("/logs")) == 1
    assert not scenario.cancel_token


def test_invalid_update_is_skipped(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    server.errors = [make_error(400)]
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.reporter.report_and_confirm("Second", 0.1)

    assert scenario.sent() == ["Starting", "Second"]


def test_queue_drops_the_oldest_updates_and_sends_the_last(
    make_scenario: Callable[..., Scenario], server: Server
) -> None:
    scenario = make_scenario()
    scenario.reporter.report_and_confirm("Starting", 0.0)
    server.errors = [FakeResponse(503, {})]
    for number in range(1000):
        scenario.reporter.report(f"step {number}")
    scenario.reporter.report_and_confirm("Last", 1.0)

    sent = scenario.sent()
    assert sent[-2:] == ["step 999", "Last"]
    assert len(sent) < 1000


def test_secrets_are_in_no_report(make_scenario: Callable[..., Scenario], server: Server) -> None:
    scenario = make_scenario()
    add_secret("secret-token")
    scenario.reporter.report_and_confirm("Starting", 0.0)
    scenario.reporter.log("the secret-token is")
    scenario.reporter.report("with secret-token", 0.5, "and secret-token")
    scenario.reporter.report_and_confirm("Pushing", 0.9)

    assert "secret-token" not in json.dumps([request.body for request in scenario.platform.requests])
    assert server.log == b"the *** is\n"


def test_log_file_has_a_limit_and_is_removed_with_its_task(tmp_path: Path) -> None:
    log_file = LogFile(tmp_path / "log")
    for _ in range(5):
        log_file.add_line("x" * (MAX_BYTES // 4))
    log_file.add_line("more")

    assert log_file.size < MAX_BYTES
    assert (tmp_path / "log").read_bytes().endswith("\n… [the log is full]\n".encode())
    log_file.add_line("half of a pair: \ud800")
    log_file.remove()
    log_file.add_line("after the end")
    assert log_file.read_chunk(0) == ""
    assert not (tmp_path / "log").exists()
