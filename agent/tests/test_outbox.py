"""Outbox and ResultSender: results on disk, retries, and rejected results."""

from __future__ import annotations

import json
import stat
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.api_client import ApiClient
from devflow.outbox import Outbox, TaskResult
from devflow.result_sender import ResultSender

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


class UntilIdle(FakeClock):
    """Ends the sender when no result is left: only then does it wait for an hour."""

    def wait(self, inbox: SimpleQueue[Any], seconds: float) -> Any:
        if seconds == 3600.0:
            raise SystemExit
        return super().wait(inbox, seconds)


def result(task: str = "task-1", attempt: int = 1, **body: Any) -> TaskResult:
    body = {"success": True, "summary": "Fixed", "attempt": attempt} | body
    return TaskResult(task, attempt, f"{task}-attempt-{attempt}", "complete", body)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


class Sending:
    """Runs a sender on the test's thread until all results are sent."""

    def __init__(self, outbox: Outbox, url: str) -> None:
        self.clock, self.log_lines, self.unauthorized, self.settled = UntilIdle(), [], 0, 0
        sender = ResultSender(
            outbox,
            ApiClient(url, "token"),
            self.log_lines.append,
            on_unauthorized=self._unauthorized,
            on_settled=self._settled,
            clock=self.clock,
            jitter=lambda: 0.0,
        )
        with pytest.raises(SystemExit):
            sender._run()
        assert sender.pending_attempts() == []

    log_lines: list[str]

    def _unauthorized(self) -> None:
        self.unauthorized += 1

    def _settled(self) -> None:
        self.settled += 1


def test_result_is_stored_privately_until_it_is_removed(outbox: Outbox, tmp_path: Path) -> None:
    outbox.save(result())
    outbox.save(result(summary="another one"))

    assert Outbox(tmp_path / "outbox").load_all() == [result()], "the first result of an attempt stays"
    (path,) = (tmp_path / "outbox").glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    outbox.remove(result())
    assert outbox.load_all() == []


def test_names_in_the_files_of_results_do_not_change(outbox: Outbox, tmp_path: Path) -> None:
    outbox.save(result())

    (path,) = (tmp_path / "outbox").glob("*.json")
    assert path.name == "task-1-attempt-1.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "task": "task-1", "attempt": 1, "name": "task-1-attempt-1", "kind": "complete", "body": result().body,
    }  # fmt: skip


def test_file_that_is_not_a_result_is_left_alone(outbox: Outbox, tmp_path: Path) -> None:
    outbox.save(result())
    for name, text in {"cut.json": '{"task": "a"', "other.json": "[]", "new.json.new": "{}"}.items():
        (tmp_path / "outbox" / name).write_text(text, encoding="utf-8")
        (tmp_path / "outbox" / name).chmod(0o600)

    assert outbox.load_all() == [result()]


def test_results_are_sent_unchanged_and_oldest_first(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    platform = start_platform(lambda _: FakeResponse(200, {"success": True}))
    for task in ("task-2", "task-1", "task-3"):
        outbox.save(result(task))

    sending = Sending(outbox, platform.url)

    assert platform.paths() == [f"POST /api/tasks/{task}/complete" for task in ("task-2", "task-1", "task-3")]
    assert platform.requests[0].body == result().body
    assert (outbox.load_all(), sending.settled) == ([], 3)
    assert sending.log_lines == [f"{task}: result reported" for task in ("task-2", "task-1", "task-3")]


def test_result_is_retried_through_an_outage_of_an_hour(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    started_at = FakeClock().time
    sending: list[Sending] = []

    def respond(request: ReceivedRequest) -> FakeResponse:
        tries.append(request)
        return FakeResponse(503, {}) if len(tries) < 70 else FakeResponse(200, {})

    tries: list[ReceivedRequest] = []
    outbox.save(result())
    sending.append(Sending(outbox, start_platform(respond).url))

    assert sending[0].clock.time - started_at > 3600
    assert {json.dumps(request.body) for request in tries} == {json.dumps(result().body)}
    assert outbox.load_all() == []


@pytest.mark.parametrize("status", [404, 409])
def test_late_result_is_rejected_and_logged(
    outbox: Outbox, start_platform: Callable[..., FakePlatform], status: int
) -> None:
    platform = start_platform(lambda _: make_error(status, message="Task task-1 is in attempt 2"))
    outbox.save(result())

    sending = Sending(outbox, platform.url)

    assert len(platform.requests) == 1
    (line,) = sending.log_lines
    assert line.startswith("task-1: the platform rejected the result of attempt 1")
    assert "Task task-1 is in attempt 2" in line
    assert outbox.load_all() == []


def test_result_that_is_too_large_is_sent_without_output(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    platform = start_platform(lambda request: make_error(413) if "output" in request.body else FakeResponse(200, {}))
    outbox.save(result(output="x" * 100))

    Sending(outbox, platform.url)

    assert platform.bodies("/complete")[-1] == result().body
    assert outbox.load_all() == []


def test_invalid_result_becomes_a_failure_with_the_reason(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    platform = start_platform(
        lambda request: FakeResponse(200, {}) if request.path.endswith("/fail") else make_error(400)
    )
    outbox.save(result(prUrl=5))

    Sending(outbox, platform.url)

    (body,) = platform.bodies("/fail")
    assert body == {"error": "The result was rejected: Conflict: no", "attempt": 1}
    assert outbox.load_all() == []


def test_result_that_is_rejected_in_every_form_is_dropped(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    platform = start_platform(lambda _: make_error(413))
    outbox.save(result(output="x"))

    Sending(outbox, platform.url)

    assert [path.rpartition("/")[2] for path in platform.paths()] == ["complete", "complete", "fail"]
    assert outbox.load_all() == []


def test_rejected_token_is_reported_and_the_result_stays(
    outbox: Outbox, start_platform: Callable[..., FakePlatform]
) -> None:
    responses = iter([make_error(401), make_error(401), FakeResponse(200, {})])
    platform = start_platform(lambda _: next(responses))
    outbox.save(result())

    assert Sending(outbox, platform.url).unauthorized == 2
    assert len(platform.requests) == 3
