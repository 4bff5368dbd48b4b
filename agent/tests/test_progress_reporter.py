"""What a running task tells the platform: in order, patiently, and until it is told to stop."""

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

QUICK = Intervals(progress=3600, log=3600, flush=30)
COMMAND = TaskAssignment.from_json(
    {"task_id": "task-1", "attempt": 2, "intent": "fix-bug", "repo": "https://a.example/r", "description": "Fix it"}
)


class Server:
    """A platform that keeps a log by its offsets, as the real one does."""

    def __init__(self) -> None:
        self.log = b""
        self.trouble: list[FakeResponse] = []
        self.cancel = False
        self.truncated = False

    def __call__(self, request: ReceivedRequest) -> FakeResponse:
        assert request.body["attempt"] == 2
        if self.trouble:
            return self.trouble.pop(0)
        if request.path.endswith("/logs"):
            data = request.body["data"].encode()
            assert request.body["offset"] == len(self.log)
            self.log += data
            return FakeResponse(200, {"nextOffset": len(self.log), "truncated": self.truncated})
        return FakeResponse(200, {"success": True, "cancelRequested": self.cancel})


class Scene:
    def __init__(self, platform: FakePlatform, tmp_path: Path, pace: Intervals) -> None:
        self.platform, self.stop, self.unauthorized = platform, CancelToken(), threading.Event()
        self.spool = LogFile(tmp_path / "log")
        self.reporter = ProgressReporter(
            ApiClient(platform.url, "token"), COMMAND, self.spool, self.stop, pace, jitter=lambda: 1.0,
            on_unauthorized=self.unauthorized.set,
        )  # fmt: skip
        self.reporter.start()

    def told(self) -> list[Any]:
        """Steps and pieces of the log, in the order in which they came."""
        return [request.body.get("step", request.body.get("data")) for request in list(self.platform.requests)]

    def close(self) -> None:
        self.stop.cancel(CancelReason.AGENT_SHUTDOWN)
        self.reporter._thread.join(30)
        assert not self.reporter._thread.is_alive()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def scene(server: Server, standin: Callable[..., FakePlatform], tmp_path: Path) -> Any:
    made: list[Scene] = []

    def make(pace: Intervals = QUICK) -> Scene:
        made.append(Scene(standin(server), tmp_path, pace))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_step_comes_after_the_lines_that_were_before_it(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    one.reporter.log("one")
    one.reporter.log("two")
    one.reporter.report("Second", 0.5, "details")
    one.reporter.log("three")
    one.reporter.report("", 0.6)
    one.reporter.report("", 0.6)
    one.reporter.report_and_confirm("Third", 0.9)
    one.reporter.log("four")
    one.reporter.finish()

    assert "".join(text for text in one.told() if "\n" in text) == "one\ntwo\nthree\nfour\n"
    assert server.log == b"one\ntwo\nthree\nfour\n"
    steps = one.platform.bodies("/progress")
    assert [(step["step"], step["progress"], step.get("details")) for step in steps] == [
        ("Starting", 0.0, None), ("Second", 0.5, "details"), ("Second", 0.6, None), ("Third", 0.9, None),
    ]  # fmt: skip
    told = one.told()
    assert "two\n" in "".join(told[: told.index("Second")])


def test_nothing_of_the_log_is_sent_before_the_task_has_started(scene: Callable[..., Scene]) -> None:
    one = scene(Intervals(log=0.001))
    one.reporter.log("early")
    one.reporter.report_and_confirm("Starting", 0.0)
    one.platform.wait_for(lambda: len(one.platform.requests) >= 2)

    assert one.told()[:2] == ["Starting", "early\n"]


def test_between_steps_it_asks_again_and_again_whether_to_go_on(scene: Callable[..., Scene], server: Server) -> None:
    one = scene(Intervals(progress=0.01, log=3600))
    one.reporter.report_and_confirm("Starting", 0.0)
    one.platform.wait_for(lambda: len(one.platform.requests) >= 4)
    assert not one.stop

    server.cancel = True
    asked = threading.Event()
    one.stop.add_listener(asked.set)
    assert asked.wait(30)

    assert one.stop.reason is CancelReason.USER_REQUEST
    assert set(one.told()) == {"Starting"}


@pytest.mark.parametrize("status", [404, 409])
def test_a_task_that_is_somebody_elses_by_now_is_dropped(
    scene: Callable[..., Scene], server: Server, status: int
) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    server.trouble = [make_error(status, message="attempt 2 is over: stop working on it")]

    with pytest.raises(JobCancelledError, match="attempt 2 is over"):
        one.reporter.report_and_confirm("Pushing", 0.9)

    assert one.stop.reason is CancelReason.TASK_LOST
    one.reporter.log("late")
    one.reporter.finish()
    assert len(one.platform.requests) == 2, "nothing more is told"
    with pytest.raises(JobCancelledError):
        one.reporter.report_and_confirm("Pushing", 0.9)


def test_a_confirmation_that_was_cancelled_meanwhile_is_none(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    server.cancel = True

    with pytest.raises(JobCancelledError, match="Cancelled"):
        one.reporter.report_and_confirm("Pushing", 0.9)


def test_through_trouble_it_goes_on_in_order(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    server.trouble = [FakeResponse(503, {}), FakeResponse(502, b"<html>")]
    one.reporter.log("one")
    one.reporter.report("Second", 0.5)
    one.reporter.report_and_confirm("Third", 0.6)

    assert server.log == b"one\n"
    told = one.told()
    assert told.index("Second") < told.index("Third")


def test_a_token_that_is_not_accepted_is_said(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    server.trouble = [make_error(401)]
    one.reporter.report_and_confirm("Starting", 0.0)

    assert one.unauthorized.is_set()


def test_a_gap_in_the_log_is_filled_from_where_the_platform_wants_it(
    scene: Callable[..., Scene], server: Server
) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    one.reporter.log("one")
    one.reporter.report_and_confirm("Second", 0.1)
    server.log = b""
    server.trouble = [make_error(416, "Wrong offset", details=["offset: 0"])]
    one.reporter.log("two")
    one.reporter.finish()

    assert server.log == b"one\ntwo\n"


def test_a_long_log_goes_in_chunks_without_half_characters(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    line = "x" + "ä" * (CHUNK_BYTES * 3 // 4)
    one.reporter.log(line)
    server.trouble = [make_error(413)]
    one.reporter.finish()

    assert server.log.decode() == line + "\n"


@pytest.mark.parametrize("how", ["truncated", "refused"])
def test_a_log_that_is_not_taken_any_more_does_not_keep_the_task_from_its_end(
    scene: Callable[..., Scene], server: Server, how: str
) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    one.reporter.log("one")
    server.truncated = how == "truncated"
    server.trouble = [make_error(400)] if how == "refused" else []
    one.reporter.report_and_confirm("Second", 0.1)
    one.reporter.log("two")
    one.reporter.finish()

    assert len(one.platform.bodies("/logs")) == 1
    assert not one.stop


def test_a_report_that_cannot_be_meant_is_left_out(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    server.trouble = [make_error(400)]
    one.reporter.report_and_confirm("Starting", 0.0)
    one.reporter.report_and_confirm("Second", 0.1)

    assert one.told() == ["Starting", "Second"]


def test_of_a_flood_of_steps_the_oldest_are_left_out_and_the_last_is_told(
    scene: Callable[..., Scene], server: Server
) -> None:
    one = scene()
    one.reporter.report_and_confirm("Starting", 0.0)
    server.trouble = [FakeResponse(503, {})]
    for number in range(1000):
        one.reporter.report(f"step {number}")
    one.reporter.report_and_confirm("Last", 1.0)

    told = one.told()
    assert told[-2:] == ["step 999", "Last"]
    assert len(told) < 1000


def test_secrets_are_in_no_report(scene: Callable[..., Scene], server: Server) -> None:
    one = scene()
    add_secret("secret-token")
    one.reporter.report_and_confirm("Starting", 0.0)
    one.reporter.log("the secret-token is")
    one.reporter.report("with secret-token", 0.5, "and secret-token")
    one.reporter.report_and_confirm("Pushing", 0.9)

    assert "secret-token" not in json.dumps([request.body for request in one.platform.requests])
    assert server.log == b"the *** is\n"


def test_the_log_on_disk_is_bounded_says_so_and_goes_with_its_task(tmp_path: Path) -> None:
    spool = LogFile(tmp_path / "log")
    for _ in range(5):
        spool.add_line("x" * (MAX_BYTES // 4))
    spool.add_line("more")

    assert spool.size < MAX_BYTES
    assert (tmp_path / "log").read_bytes().endswith("\n… [the log is full]\n".encode())
    spool.add_line("half of a pair: \ud800")
    spool.remove()
    spool.add_line("after the end")
    assert spool.read_chunk(0) == ""
    assert not (tmp_path / "log").exists()
