"""The `copilot` engine with the real SDK and a fake CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support import fake_copilot_cli
from agent.tests.support.bubblewrap import requires_bubblewrap
from agent.tests.support.fake_platform import FakeResponse
from agent.tests.support.processes import is_alive
from devflow.api_client import ApiClient
from devflow.cancel_token import CancelReason
from devflow.engine_view import AllowedPath
from devflow.engines import copilot
from devflow.engines.copilot import CopilotOptions
from devflow.engines.copilot_permissions import find_denial_reason
from devflow.errors import TaskFailedError
from devflow.intervals import Intervals
from devflow.job_runner import JobContext, JobRunner
from devflow.outbox import Outbox, TaskResult
from devflow.sandbox import Sandbox
from devflow.task_assignment import TaskAssignment

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

pytestmark = pytest.mark.timeout(180)


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def accept(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith("/logs"):
        end = request.body["offset"] + len(request.body["data"].encode())
        return FakeResponse(200, {"nextOffset": end, "truncated": False})
    return FakeResponse(200, {"success": True, "cancelRequested": False})


class Scenario:
    """A repository, a platform, and jobs that Copilot does."""

    def __init__(self, platform: FakePlatform, directory: Path) -> None:
        self.platform, self.directory = platform, directory
        self.origin, seed = directory / "origin.git", directory / "seed"
        git("init", "--quiet", str(seed), cwd=directory)
        (seed / "login.py").write_text("bug\n", encoding="utf-8")
        git("add", "--all", cwd=seed)
        git("commit", "--quiet", "--message=a commit", cwd=seed)
        git("clone", "--quiet", "--bare", str(seed), str(self.origin), cwd=directory)
        self.cli = directory / "copilot"
        self.cli.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_copilot_cli.__file__} "$@"\n', encoding="utf-8")
        self.cli.chmod(0o755)
        self.notes_path = directory / "notes"
        self.sent_results: list[TaskResult] = []
        self.options = CopilotOptions(cli_path=str(self.cli), model="gpt-5")
        self.sandbox = Sandbox(pass_names=("STANDIN_NOTES", "STANDIN_BROKEN"))

    def job(self, description: str, intent: str = "fix-bug") -> JobRunner:
        agent = self.directory / "agent"
        context = JobContext(
            agent, copilot.make_copilot_engine(self.options), ApiClient(self.platform.url, "token"),
            Outbox(agent / "outbox"), self.sent_results.append, lambda _: None,
            intervals=Intervals(grace=5, flush=60, log=0.05, progress=0.2),
            allowed_protocols=["file"],
            sandbox=self.sandbox,
        )  # fmt: skip
        raw = {"task_id": "task-1", "attempt": 1, "intent": intent, "repo": str(self.origin), "branch": "main"}
        return JobRunner(TaskAssignment.from_json(raw | {"description": description, "context": {}}), context)

    def run(self, description: str, intent: str = "fix-bug") -> dict[str, Any]:
        self.job(description, intent).run()
        (result,) = self.sent_results
        return {"kind": result.kind} | result.body

    def notes(self) -> list[dict[str, Any]]:
        """Return what the fake CLI has recorded."""
        if not self.notes_path.exists():
            return []
        return [json.loads(line) for line in self.notes_path.read_text(encoding="utf-8").splitlines()]

    def log(self) -> str:
        return "".join(body["data"] for body in self.platform.bodies("/logs"))


@pytest.fixture
def scenario(
    start_platform: Callable[..., FakePlatform], tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> Scenario:
    monkeypatch.setenv("STANDIN_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("DEVFLOW_TOKEN", "secret-token")
    return Scenario(start_platform(accept), tmp_path)


def test_events_become_steps_and_log_and_the_change_is_pushed(scenario: Scenario) -> None:
    report = scenario.run("do: fix")

    assert (report["kind"], report["summary"]) == ("complete", "Fixed the login."), report
    assert report["output"].startswith("I looked around.\n\nFixed the login.")
    assert report["resultFiles"]["files"] == ["login.py"]
    assert git("show", "devflow/task-1-attempt-1:login.py", cwd=scenario.origin) == "fixed"
    steps = [body["step"] for body in scenario.platform.bodies("/progress")]
    assert [step for step in dict.fromkeys(steps) if step in ("Reading the code", "view")] == [
        "Reading the code",
        "view",
    ]
    progress = [body["progress"] for body in scenario.platform.bodies("/progress")]
    assert progress == sorted(progress)
    log = scenario.log()
    for line in ("> view login.py", "The tool failed: no such file", "from a helper", "Fixed the login."):
        assert line in log
    session, decided = scenario.notes()
    assert session["session"]["model"] == "gpt-5"
    assert session["session"]["workingDirectory"].endswith("/task-1-attempt-1/repo")
    assert not [name for name in session["environment"] if name.startswith("DEVFLOW_")], "no token of ours gets there"
    assert decided == {"asked": "write", "decided": "approve-once"}


def test_modules_of_the_repository_do_not_run_in_the_engine(scenario: Scenario, tmp_path: Path) -> None:
    seed, ran = tmp_path / "seed", tmp_path / "ran"
    for name in ("asyncio.py", "copilot.py", "sitecustomize.py", "devflow/__init__.py"):
        (seed / name).parent.mkdir(exist_ok=True)
        (seed / name).write_text(f"open({str(ran)!r}, 'w').close()\nraise SystemExit(1)\n", encoding="utf-8")
    git("add", "--all", cwd=seed)
    git("commit", "--quiet", "--message=hostile modules", cwd=seed)
    git("push", "--quiet", str(scenario.origin), "HEAD:main", cwd=seed)

    report = scenario.run("do: fix")

    assert not ran.exists()
    assert (report["kind"], report["resultFiles"]["files"]) == ("complete", ["login.py"])


@requires_bubblewrap
def test_copilot_works_in_the_sandbox(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "shared"
    notes.mkdir()
    scenario.notes_path = notes / "notes"
    monkeypatch.setenv("STANDIN_NOTES", str(scenario.notes_path))
    tests = Path(__file__).parents[2]
    scenario.sandbox = replace(
        scenario.sandbox, enabled=True, allowed=(AllowedPath(notes, writable=True), AllowedPath(tests))
    )

    report = scenario.run("do: fix")

    assert (report["kind"], report.get("summary")) == ("complete", "Fixed the login."), report
    assert git("show", "devflow/task-1-attempt-1:login.py", cwd=scenario.origin) == "fixed"
    assert scenario.notes()[1] == {"asked": "write", "decided": "approve-once"}


def test_files_outside_the_clone_and_other_kinds_are_denied(scenario: Scenario, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched", encoding="utf-8")

    report = scenario.run(f"do: escape paths: {outside} ../../../../outside", "explain")

    assert report["kind"] == "complete", report
    assert [note["decided"] for note in scenario.notes()[1:]] == ["reject", "reject", "reject"]
    assert outside.read_text(encoding="utf-8") == "untouched"
    assert not (tmp_path / "notes.ran").exists()
    assert f"Denied: {outside} is outside of the repository." in scenario.log()
    assert "Denied: shell is not allowed on this machine." in scenario.log()


def test_operator_may_allow_the_shell(scenario: Scenario, tmp_path: Path) -> None:
    scenario.options = replace(scenario.options, allowed_kinds=("shell",))

    assert scenario.run("do: escape paths: ", "explain")["kind"] == "complete"
    assert (tmp_path / "notes.ran").exists()


def test_error_of_the_session_fails_the_task(scenario: Scenario) -> None:
    report = scenario.run("do: error")
    assert (report["kind"], report["error"]) == ("fail", "You have no quota left.")


def test_crash_of_the_cli_fails_the_task_with_a_clear_error(scenario: Scenario) -> None:
    report = scenario.run("do: crash")
    assert report["kind"] == "fail"
    assert report["error"].startswith("Copilot SDK connection failed: ")
    assert "out of cheese" in report["error"]


def test_cancel_stops_the_engine_and_the_cli(scenario: Scenario) -> None:
    job = scenario.job("do: hang")
    running = threading.Thread(target=job.run)
    running.start()
    scenario.platform.wait_for(lambda: any("process" in note for note in scenario.notes()))
    process = next(note["process"] for note in scenario.notes() if "process" in note)
    job.cancel_token.cancel(CancelReason.USER_REQUEST, "Cancelled")
    running.join(60)

    assert not running.is_alive()
    (result,) = scenario.sent_results
    assert (result.kind, result.body["error"]) == ("fail", "Cancelled")
    assert not is_alive(process)


def test_engine_is_checked_before_a_task_is_accepted(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = copilot.make_copilot_engine(scenario.options)
    engine.check()
    monkeypatch.setenv("STANDIN_BROKEN", "1")
    with pytest.raises(TaskFailedError, match=r"Copilot SDK connection failed: .*no such licence"):
        engine.check()
    with pytest.raises(TaskFailedError, match="Copilot SDK connection failed"):
        copilot.make_copilot_engine(CopilotOptions(cli_path="/no/such/copilot")).check()


def test_agent_process_does_not_import_the_sdk() -> None:
    code = "import sys, devflow.cli.main; sys.exit('copilot' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0


def permission(kind: str, **more: Any) -> Any:
    return SimpleNamespace(kind=kind, **more)


def test_only_files_in_the_clone_and_allowed_kinds_are_granted(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "deep").mkdir()
    (tmp_path / "git-link").symlink_to(".git")
    granted = [
        permission("read", path="deep/x"),
        permission("write", file_name=str(tmp_path / "new.py")),
        permission("read", path="."),
        permission("read", path=".git/HEAD"),
        permission("write", file_name=".github/workflows/test.yml"),
        permission("write", file_name=".gitignore"),
    ]
    denied = [
        permission("read", path="/etc/passwd"),
        permission("write", file_name="../x"),
        permission("write", file_name="out/passwd"),
        permission("read", path="a\0b"),
        permission("write", file_name="x", managed_approval_required=True),
        permission("read", path="x", request_sandbox_bypass=True),
        permission("write", file_name=".git/config"),
        permission("write", file_name=".git/commondir"),
        permission("write", file_name="deep/.GIT/hooks/pre-commit"),
        permission("write", file_name="deep/../.git"),
        permission("write", file_name="git-link/config"),
        permission("shell"),
        permission("url"),
        permission("mcp"),
        permission("new"),
    ]
    assert [find_denial_reason(request, tmp_path, [""]) for request in granted] == [None] * len(granted)
    assert all(find_denial_reason(request, tmp_path, [""]) for request in denied)
    assert find_denial_reason(permission("url"), tmp_path, ["url"]) is None
    assert find_denial_reason(permission("new"), tmp_path, ["all"]) is None
    assert find_denial_reason(permission("write", file_name="/etc/passwd"), tmp_path, ["all"]), (
        "files stay in the clone"
    )
