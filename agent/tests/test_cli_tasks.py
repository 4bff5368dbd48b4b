"""`devflow run` and `devflow tasks`: submit, list, show, follow, cancel and retry tasks."""

from __future__ import annotations

import io
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse
from devflow.api_client import ApiClient
from devflow.cli import follow, task_watcher
from devflow.cli.repository import Repository
from devflow.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


TASK = {
    "id": "task-1", "status": "completed", "attempt": 1, "progress": 1.0, "currentStep": "Testing",
    "agentId": "build-1", "startedAt": "2025-01-24T00:00:00Z", "error": None, "details": None,
    "summary": "Fixed", "output": "all of it",
    "prUrl": None, "resultFiles": {"commit": "abc", "files": ["a.py"]}, "intent": "fix-bug",
    "createdAt": "2025-01-24T00:00:00Z", "updatedAt": "2025-01-24T00:00:03Z", "description": "Fix \x1b[31mit\nnow",
}  # fmt: skip
LOG = {"taskId": "task-1", "attempt": 1, "offset": 0, "data": "", "nextOffset": 0, "complete": True, "truncated": False}


def test_list_is_the_default_command_and_accepts_its_options(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, {"data": [TASK]}))
    assert devflow("tasks", "--json", "--status", "completed").json == {"data": [TASK]}
    assert platform.paths() == ["GET /api/tasks?status=completed&limit=20"]
    assert "cancel" in devflow("tasks", "--help").out


def test_tasks_are_listed_in_one_line_each_without_control_characters(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, {"data": [TASK]}))

    result = devflow("tasks", "list", "--status", "failed", "--agent", "build-1", "--intent", "fix-bug", "--limit", "5")

    assert platform.paths() == ["GET /api/tasks?status=failed&agentId=build-1&intent=fix-bug&limit=5"]
    assert result.out.splitlines() == [
        "TASK\tSTATUS\tINTENT\tAGENT\tCREATED\tDESCRIPTION",
        "task-1\tcompleted\tfix-bug\tbuild-1\t2025-01-24T00:00:00Z\tFix it now",
    ]


def test_show_prints_the_fields_that_are_not_empty(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: FakeResponse(200, TASK))

    output = devflow("tasks", "show", "task-1").out

    assert "summary" in output
    assert "prUrl" not in output
    assert "description\n    Fix it\n    now\n" in output
    assert devflow("tasks", "show", "task-1", "--json").json == TASK


def test_log_is_read_to_its_end(devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]) -> None:
    pages = {0: ("one\n", 4), 4: ("two\n", 8), 8: ("", 8)}

    def respond(request: ReceivedRequest) -> FakeResponse:
        offset = int(request.path.partition("offset=")[2].partition("&")[0])
        data, after = pages[offset]
        return FakeResponse(200, LOG | {"offset": offset, "data": data, "nextOffset": after})

    platform = logged_in(respond)
    assert devflow("tasks", "logs", "task-1", "--attempt", "1").out == "one\ntwo\n"
    assert platform.paths()[0] == "GET /api/tasks/task-1/logs?offset=0&attempt=1"
    assert devflow("tasks", "logs", "task-1", "--json").json["data"] == "one\ntwo\n"
    assert devflow("tasks", "logs", "task-1", "-f", "--attempt", "1").status == 2


@pytest.mark.parametrize(
    ("command", "response", "output"),
    [
        ("cancel", {"status": "cancelled", "cancelRequested": False}, "task-1: cancelled\n"),
        ("cancel", {"status": "in_progress", "cancelRequested": True}, "task-1: its agent was asked to stop\n"),
        ("retry", {"taskId": "task-2"}, "task-2\n"),
    ],
)
def test_cancel_and_retry_print_the_outcome(
    devflow: Callable[..., CommandResult],
    logged_in: Callable[..., FakePlatform],
    command: str,
    response: Any,
    output: str,
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, response))

    assert devflow("tasks", command, "task-1").out == output
    assert platform.paths() == [f"POST /api/tasks/task-1/{command}"]


def event(kind: str, detail: str | None = None, attempt: int = 1) -> dict[str, Any]:
    return {"type": f"task.{kind}", "timestamp": "2025-01-24T00:00:00Z", "attempt": attempt, "detail": detail}


class ChangingTask:
    """A task that changes with each request."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = [TASK | state for state in states]
        self.log = "one\ntwo\n"
        self.events = [event("created"), event("started", "Starting\x1b[2J"), event("completed", attempt=2)]
        self.submitted: Any = None

    def __call__(self, request: ReceivedRequest) -> FakeResponse:
        if request.method == "POST":
            self.submitted = request.body
            return FakeResponse(202, {"accepted": True, "taskId": "task-1"})
        offset = int(request.path.partition("offset=")[2].partition("&")[0] or 0)
        if "/logs" in request.path:
            return FakeResponse(200, LOG | {"data": self.log[offset:], "nextOffset": len(self.log)})
        if "/events" in request.path:
            return FakeResponse(200, {"data": self.events[offset:]})
        return FakeResponse(200, self.states.pop(0) if len(self.states) > 1 else self.states[0])


@pytest.fixture
def no_poll_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_watcher, "POLL_SECONDS", 0.0)


def test_run_submits_a_task_follows_it_and_prints_the_result(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], no_poll_delay: None
) -> None:
    task = ChangingTask(
        {"status": "queued", "progress": 0.0, "currentStep": None}, {"status": "in_progress", "progress": 0.5}, {}
    )
    logged_in(task)

    result = devflow(
        "run", "Fix the null pointer", "--repo", "https://me:secret-word@github.com/u/r", "--branch", "main",
        "--intent", "feature", "--agent", "build-1", "--priority", "5", "--timeout", "60", "--max-attempts", "3",
        "--context", "issueId=123", "--context", 'labels=["a"]', "--task-id", "mine",
    )  # fmt: skip

    assert task.submitted == {
        "taskId": "mine", "intent": "feature", "repo": "https://github.com/u/r", "branch": "main",
        "naturalLanguage": "Fix the null pointer", "agentId": "build-1", "priority": 5, "timeoutSeconds": 60,
        "maxAttempts": 3, "context": {"issueId": "123", "labels": ["a"]},
    }  # fmt: skip
    assert result.status == 0
    assert result.err.splitlines()[1:] == [
        "2025-01-24T00:00:00Z created",
        "2025-01-24T00:00:00Z started: Starting",
        "2025-01-24T00:00:00Z completed (attempt 2)",
        "  one",
        "  two",
    ]
    assert "summary      Fixed\n" in result.out


WAITS = {
    "status": "queued", "progress": 0.0, "currentStep": None, "startedAt": None,
    "waitingReason": {"code": "no_agent", "message": "You have no agent.\nRegister\x1b[2J one."},
}  # fmt: skip


def test_run_prints_once_why_the_task_waits(
    devflow: Callable[..., CommandResult],
    logged_in: Callable[..., FakePlatform],
    no_poll_delay: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "WAITING_NOTICE_AFTER", 0.0)
    logged_in(ChangingTask(WAITS, WAITS, {"waitingReason": None}))
    result = devflow("run", "x", "--repo", "https://a.example/r")
    assert [line for line in result.err.splitlines() if "waits" in line] == [
        "The task waits. You have no agent. Register one."
    ]
    assert "waitingReason" not in result.out


def test_reason_is_printed_after_five_seconds_of_waiting() -> None:
    seconds, notes = iter([100.0, 104.9, 105.1, 105.2, 105.3]), list[str]()
    notice = follow.WaitingNotice(notes.append, lambda: next(seconds))
    for waits, printed in ((True, 0), (False, 0), (True, 1), (True, 1)):
        notice.update(WAITS if waits else TASK)
        assert len(notes) == printed


def test_show_prints_the_message_of_the_reason(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: FakeResponse(200, TASK | WAITS))
    assert "waitingReason\n    You have no agent.\n    Register one.\n" in devflow("tasks", "show", "task-1").out
    assert devflow("tasks", "show", "task-1", "--json").json["waitingReason"] == WAITS["waitingReason"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_run_exits_1_if_the_task_does_not_succeed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], no_poll_delay: None, status: str
) -> None:
    logged_in(ChangingTask({"status": status, "error": "no"}))

    result = devflow("run", "x", "--repo", "https://a.example/r", "--json")

    assert (result.status, result.json["status"]) == (1, status)


def test_detach_prints_only_the_task_id(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(ChangingTask({}))

    result = devflow("run", "x", "--repo", "https://a.example/r", "--detach")

    assert (result.status, result.out, len(platform.requests)) == (0, "task-1\n", 1)


def test_watcher_follows_the_log_into_the_next_attempt_and_through_an_outage(
    start_platform: Callable[..., FakePlatform], no_retry_delays: None
) -> None:
    responses = iter([
        FakeResponse(200, TASK | {"status": "in_progress"}),
        FakeResponse(200, LOG | {"data": "first\n", "nextOffset": 6, "complete": False}),
        FakeResponse(200, {"data": [event("started")]}),
        *[FakeResponse(503, {})] * 3,
        FakeResponse(200, TASK | {"status": "in_progress", "attempt": 2}),
        FakeResponse(200, LOG | {"data": "second\n", "nextOffset": 7, "complete": False}),
        FakeResponse(200, TASK | {"attempt": 2}),
        FakeResponse(200, LOG | {"nextOffset": 7}),
        FakeResponse(200, {"data": []}),
    ])  # fmt: skip
    platform = start_platform(lambda _: next(responses))
    notes: list[str] = []
    watcher = task_watcher.TaskWatcher(ApiClient(platform.url), "task-1", sleep=lambda _: None, print_note=notes.append)

    snapshots = list(watcher.snapshots())
    assert [snapshot.new_log for snapshot in snapshots] == ["first\n", "second\n", ""]
    assert [len(snapshot.new_events) for snapshot in snapshots] == [1, 0, 0]
    assert len(notes) == 1
    assert [path.partition("logs")[2] for path in platform.paths() if "logs" in path] == [
        "?offset=0&attempt=1", "?offset=0&attempt=2", "?offset=7&attempt=2",
    ]  # fmt: skip


def git(*arguments: str, cwd: Path) -> None:
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


def test_clone_resolves_to_its_origin_and_branch(tmp_path: Path, machine: Path) -> None:
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    git("init", "--bare", str(origin), cwd=tmp_path)
    git("clone", str(origin), str(clone), cwd=tmp_path)
    (clone / "a").touch()
    git("add", "a", cwd=clone)
    git("commit", "-m", "one", cwd=clone)
    assert Repository.resolve(str(clone)).branch is None, "the origin does not have the branch"
    git("push", "origin", "main", cwd=clone)

    assert Repository.resolve(str(clone)) == Repository(str(origin), "main", [])
    (clone / "a").write_text("changed", encoding="utf-8")
    assert Repository.resolve(str(clone)).warnings == [
        "There are local changes that are not pushed. The agent does not see them"
    ]
    git("remote", "set-url", "origin", "https://me:secret-word@github.com/u/r.git", cwd=clone)
    assert Repository.resolve(str(clone)).url == "https://github.com/u/r.git"
    git("remote", "remove", "origin", cwd=clone)
    assert Repository.resolve(str(clone)).url == str(clone)
    assert Repository.resolve(str(origin)).url == str(origin), "a bare repository is used itself"


def test_path_that_is_not_a_repository_is_rejected(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(SettingsError):
            Repository.resolve(path)
    assert Repository.resolve("git@github.com:u/r.git").url == "git@github.com:u/r.git"


def test_progress_bar_shows_the_task_and_its_log() -> None:
    from rich.console import Console  # noqa: PLC0415

    from devflow.cli.progress_bar import ProgressBar  # noqa: PLC0415

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with ProgressBar(console) as bar:
        task = TASK | {"status": "in_progress", "progress": 0.5, "attempt": 2}
        bar.update(task_watcher.TaskSnapshot(task, "one\n[bold]two\x1b[2J\n", []))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for text in ("one", "[bold]two", "in_progress (attempt 2)", "50%", "Testing"):
        assert text in printed
    assert "\x1b[2J" not in printed


@pytest.mark.parametrize(
    ("remote", "submitted"),
    [
        ("https://me:s3cret-word@github.com/u/r.git", "https://github.com/u/r.git"),
        ("https://ghp_0123456789@github.com/u/r.git", "https://github.com/u/r.git"),
        ("https://x-access-token:@github.com/u/r.git", "https://github.com/u/r.git"),
        ("https://me:pa@ss@github.com/u/r.git", "https://github.com/u/r.git"),
        ("ssh://git:s3cret-word@github.com:22/u/r.git", "ssh://git@github.com:22/u/r.git"),
        ("ssh://git@github.com/u/r.git", "ssh://git@github.com/u/r.git"),
        ("git@github.com:u/r@2.git", "git@github.com:u/r@2.git"),
        ("https://github.com/u/r@2.git", "https://github.com/u/r@2.git"),
    ],
)
def test_credentials_in_a_remote_are_not_sent_to_the_platform(
    tmp_path: Path, machine: Path, remote: str, submitted: str
) -> None:
    git("init", "--quiet", str(tmp_path / "clone"), cwd=tmp_path)
    git("remote", "add", "origin", remote, cwd=tmp_path / "clone")

    assert Repository.resolve(str(tmp_path / "clone")).url == submitted
    assert Repository.resolve(remote).url == submitted
