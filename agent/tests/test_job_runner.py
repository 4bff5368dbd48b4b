"""One attempt from its first report to its result: real git and real programs, and a stand-in of the platform."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.api_client import ApiClient
from devflow.cancel_token import CancelReason
from devflow.engines import command
from devflow.errors import SettingsError, TaskFailedError
from devflow.intervals import Intervals
from devflow.job_runner import JobContext, JobRunner
from devflow.outbox import Outbox, TaskResult
from devflow.redaction import add_secret
from devflow.task_assignment import TaskAssignment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def origin(tmp_path: Path, machine: Path) -> Path:
    """A bare repository with one commit."""
    seed = tmp_path / "seed"
    git("init", "--quiet", str(seed), cwd=tmp_path)
    (seed / "login.py").write_text("bug\n", encoding="utf-8")
    git("add", "--all", cwd=seed)
    git("commit", "--quiet", "--message=a commit", cwd=seed)
    git("clone", "--quiet", "--bare", str(seed), "origin.git", cwd=tmp_path)
    return tmp_path / "origin.git"


class Scene:
    """An agent's means, and jobs with them."""

    def __init__(self, platform: FakePlatform, directory: Path, origin: Path) -> None:
        self.platform, self.origin, self.said = platform, origin, []
        self.delivered: list[TaskResult] = []
        self.engine_code = "open('login.py', 'w').write('fixed\\n'); print('Fixed it')"
        self.means = JobContext(
            directory, command.make_command_engine("true"), ApiClient(platform.url, "token"), Outbox(directory / "outbox"),
            self.delivered.append, self.said.append, intervals=Intervals(grace=0.2, flush=30, log=0.01), allowed_protocols=["file"],
        )  # fmt: skip

    said: list[str]

    def job(self, code: str, **task: Any) -> JobRunner:
        given = {"task_id": "task-1", "attempt": 1, "intent": "fix-bug", "repo": str(self.origin), "branch": "main"}
        given |= {"description": "Fix the login", "context": {"issueId": "123"}, "timeoutSeconds": 60} | task
        engine = command.make_command_engine(f"{shlex.quote(sys.executable)} -u -c {shlex.quote(code)}")
        return JobRunner(TaskAssignment.from_json(given), replace(self.means, engine=engine))

    def run(self, code: str, **task: Any) -> dict[str, Any]:
        """Do it; the body of the result, with its kind."""
        self.job(code, **task).run()
        (result,) = self.delivered
        assert self.means.outbox.load_all() == [result], "it is on disk before it is sent"
        return {"kind": result.kind} | result.body

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.means.directory / "work").glob("*"))


def fine(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith("/logs"):
        end = request.body["offset"] + len(request.body["data"].encode())
        return FakeResponse(200, {"nextOffset": end, "truncated": False})
    return FakeResponse(200, {"success": True, "cancelRequested": False})


@pytest.fixture
def scene(standin: Callable[..., FakePlatform], tmp_path: Path, origin: Path) -> Scene:
    return Scene(standin(fine), tmp_path / "agent", origin)


FIX = "open('login.py', 'w').write('fixed\\n'); print('Fixed it')"


def test_a_bug_that_is_fixed_ends_as_a_pushed_commit_and_the_result_says_which(scene: Scene) -> None:
    done = scene.run(FIX)

    branch = "devflow/task-1-attempt-1"
    commit = git("rev-parse", branch, cwd=scene.origin)
    assert (done["kind"], done["success"], done["summary"], done["attempt"]) == ("complete", True, "Fixed it", 1)
    assert done["resultFiles"] == {"commit": commit, "branch": branch, "files": ["login.py"]}
    assert git("show", f"{branch}:login.py", cwd=scene.origin) == "fixed"
    assert git("log", "-1", "--format=%B", branch, cwd=scene.origin) == (
        "Fix the login\n\nDevFlow-Task: task-1\nDevFlow-Attempt: 1"
    )
    assert "There is no pull request" in done["output"]
    assert scene.left() == []
    steps = [body["step"] for body in scene.platform.bodies("/progress")]
    assert steps == list(dict.fromkeys(steps)), "each once"
    assert (steps[0], steps[-2:]) == ("Starting", ["Pushing the branch", "Opening a pull request"])
    far = [body["progress"] for body in scene.platform.bodies("/progress")]
    assert far == sorted(far)


def test_the_program_has_the_task_on_its_input_in_a_file_and_in_its_environment(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVFLOW_TOKEN", "secret-token")
    monkeypatch.setenv("MINE", "kept")
    code = (
        "import json, os, sys\n"
        "seen = {'stdin': json.load(sys.stdin), 'file': json.load(open(os.environ['DEVFLOW_TASK_FILE'])),"
        " 'env': dict(os.environ), 'cwd': os.listdir('.')}\n"
        f"json.dump(seen, open({str(tmp_path / 'seen')!r}, 'w'))"
    )
    scene.run(code, intent="explain", description="Why\0so \ud800?")

    seen = json.loads((tmp_path / "seen").read_text(encoding="utf-8"))
    assert seen["stdin"] == seen["file"] == json.loads(seen["env"]["DEVFLOW_TASK"])
    assert (seen["stdin"]["task_id"], seen["stdin"]["description"]) == ("task-1", "Why\0so \ud800?")
    env = seen["env"]
    assert (env["DEVFLOW_TASK_ID"], env["DEVFLOW_ATTEMPT"], env["DEVFLOW_INTENT"]) == ("task-1", "1", "explain")
    assert (env["DEVFLOW_REPO"], env["DEVFLOW_BRANCH"]) == (str(scene.origin), "main")
    assert (env["DEVFLOW_DESCRIPTION"], env["DEVFLOW_CONTEXT"]) == (
        "Why\N{REPLACEMENT CHARACTER}so ??",
        '{"issueId": "123"}',
    )
    assert "DEVFLOW_TOKEN" not in env
    assert env["MINE"] == "kept"
    assert sorted(seen["cwd"]) == [".git", "login.py"]


def test_a_task_that_is_too_large_for_the_environment_is_whole_elsewhere(scene: Scene, tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    code = f"import os, sys; print(len(sys.stdin.read()), 'DEVFLOW_TASK' in os.environ, file=open({seen!r}, 'w'))"
    scene.run(code, intent="explain", description="x" * 250_000)

    length, there = (tmp_path / "seen").read_text(encoding="utf-8").split()
    assert int(length) > 250_000
    assert there == "False"


@pytest.mark.parametrize("intent", ["explain", "review-pr"])
def test_what_is_only_asked_about_ends_with_text_and_is_not_changed(scene: Scene, intent: str) -> None:
    done = scene.run(FIX + "; print('It is because of that.')", intent=intent)

    assert (done["kind"], done["summary"]) == ("complete", "It is because of that.")
    assert done["output"] == "Fixed it\nIt is because of that."
    assert "resultFiles" not in done
    assert git("branch", "--list", "devflow/*", cwd=scene.origin) == ""


@pytest.mark.parametrize(("code", "pushed"), [(FIX, True), ("print('nothing to do')", False)])
def test_another_intent_is_pushed_where_something_has_changed(scene: Scene, code: str, *, pushed: bool) -> None:
    done = scene.run(code, intent="upgrade")

    assert done["kind"] == "complete"
    assert ("resultFiles" in done) == pushed


def test_a_bug_fix_that_changes_nothing_is_a_failure_that_says_so(scene: Scene) -> None:
    done = scene.run("print('I see no bug')")

    assert (done["kind"], done["error"], done["details"]) == ("fail", "command changed nothing", "I see no bug")


def test_a_program_that_fails_fails_the_task_with_what_it_said_last(scene: Scene) -> None:
    done = scene.run("import sys; print('working'); sys.exit('cannot do it')")

    assert done["error"] == "command failed with exit status 1: cannot do it"
    assert done["details"] == "working\ncannot do it"
    assert scene.left() == []


def test_a_program_may_say_itself_why_it_failed(scene: Scene) -> None:
    done = scene.run('print(\'::devflow {"error": "the tests still fail"}\')')
    assert (done["kind"], done["error"]) == ("fail", "the tests still fail")


def test_a_program_that_kills_itself_is_a_failure(scene: Scene) -> None:
    assert scene.run("import os; os.kill(os.getpid(), 11)")["error"] == "command was killed by signal 11"


def test_what_it_tells_of_its_progress_lies_between_cloning_and_pushing(scene: Scene) -> None:
    scene.run(
        "import json\n"
        "for far in (0, 0.5, 1): print('::devflow', json.dumps({'step': f'Part {far}', 'progress': far}))\n" + FIX
    )

    told = {body["step"]: body["progress"] for body in scene.platform.bodies("/progress")}
    assert [told["Part 0"], told["Part 0.5"], told["Part 1"]] == pytest.approx([0.1, 0.45, 0.8])


def test_a_clone_that_fails_fails_the_task(scene: Scene, tmp_path: Path) -> None:
    done = scene.run(FIX, repo=str(tmp_path / "none"))
    assert (done["kind"], done["error"]) == ("fail", "Repository clone failed")
    assert "does not exist" in done["details"] or "not appear to be" in done["details"]


def test_a_repository_that_this_agent_may_not_use_is_a_failure(scene: Scene) -> None:
    scene.means = replace(scene.means, allowed_protocols=["https"])
    assert "does not use file" in scene.run(FIX)["error"]


def test_a_task_that_is_cancelled_ends_its_program_and_says_so(scene: Scene, tmp_path: Path) -> None:
    started = tmp_path / "started"
    job = scene.job(f"import time; open({str(started)!r}, 'w').close(); print('begun', flush=True); time.sleep(300)")
    scene.platform.respond = lambda request: (
        FakeResponse(200, {"success": True, "cancelRequested": True})
        if request.path.endswith("/progress") and started.exists()
        else fine(request)
    )
    job._context = replace(job._context)
    job._reporter._intervals = Intervals(progress=0.05, log=0.05)
    job.run()

    (result,) = scene.delivered
    assert (result.kind, result.body) == ("fail", {"error": "Cancelled", "attempt": 1})
    assert git("branch", "--list", "devflow/*", cwd=scene.origin) == ""
    assert scene.left() == []


def test_a_task_that_was_given_to_somebody_else_is_neither_pushed_nor_reported(scene: Scene) -> None:
    pushing = {"Pushing the branch"}
    scene.platform.respond = lambda request: (
        make_error(409, message="attempt 1 is over: stop working on it")
        if request.body.get("step") in pushing
        else fine(request)
    )
    scene.job(FIX).run()

    assert scene.delivered == []
    assert scene.means.outbox.load_all() == []
    assert git("branch", "--list", "devflow/*", cwd=scene.origin) == ""
    assert "attempt 1 is over" in scene.said[-1]
    assert scene.left() == []


def test_a_claim_that_is_gone_is_not_begun(scene: Scene, tmp_path: Path) -> None:
    scene.platform.respond = lambda _: make_error(409)
    scene.job(f"open({str(tmp_path / 'ran')!r}, 'w')").run()

    assert scene.delivered == []
    assert not (tmp_path / "ran").exists()


def test_when_the_agent_ends_its_job_reports_nothing(scene: Scene) -> None:
    job = scene.job("import time; print('begun', flush=True); time.sleep(300)")

    def answer(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/logs"):
            job.cancel_token.cancel(CancelReason.AGENT_SHUTDOWN)
        return fine(request)

    scene.platform.respond = answer
    job.run()

    assert scene.delivered == []
    assert scene.means.outbox.load_all() == []


def test_a_failed_workspace_is_kept_where_that_was_asked_for(scene: Scene) -> None:
    scene.means = replace(scene.means, keep_failed=True)
    scene.run("open('half.py', 'w').close(); exit(1)")

    kept = scene.means.directory / "kept" / "task-1-attempt-1" / "repo"
    assert (kept / "half.py").exists()
    assert scene.left() == []
    assert any(str(kept.parent) in line for line in scene.said)


def test_a_secret_that_a_program_prints_goes_nowhere(scene: Scene) -> None:
    add_secret("ghp_0123456789")
    done = scene.run("print('token: ghp_0123456789'); print('::devflow {\"step\": \"ghp_0123456789\"}'); exit(1)")

    assert "token: ***" in done["error"]
    sent = json.dumps([request.body for request in scene.platform.requests])
    assert "token: ***" in sent
    assert "ghp_0123456789" not in sent + json.dumps(done) + "".join(scene.said)


def test_a_password_in_the_address_is_in_no_argument_and_no_message(scene: Scene, tmp_path: Path) -> None:
    asked: list[ReceivedRequest] = []

    def host(request: ReceivedRequest) -> FakeResponse:
        asked.append(request)
        return FakeResponse(401, b"", {"WWW-Authenticate": 'Basic realm="git"'})

    git_host = type(scene.platform)(host)
    arguments = tmp_path / "arguments"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {arguments}\nexec {real} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{wrapper.parent}:/usr/bin:/bin")
            scene.means = replace(scene.means, allowed_protocols=["http"])
            done = scene.run(FIX, repo=git_host.url.replace("http://", "http://me:s3cret-word@") + "/r.git")
    finally:
        git_host.end()

    basic = {request.headers.get("Authorization", "") for request in asked}
    assert "Basic bWU6czNjcmV0LXdvcmQ=" in basic, "git had it"
    assert done["error"] == "Repository clone failed"
    assert "s3cret-word" not in arguments.read_text(encoding="utf-8")
    assert "s3cret-word" not in json.dumps(done) + "".join(scene.said)


def test_a_full_disk_is_said_and_nothing_is_half_done(scene: Scene) -> None:
    directory = scene.means.directory / "outbox"
    job = scene.job("exit(1)")
    directory.touch()
    job.run()

    assert scene.delivered == []
    assert any("cannot be kept" in line for line in scene.said)


@pytest.mark.parametrize("given", ["", "  ", "unfinished 'quote"])
def test_a_command_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(SettingsError):
        command.make_command_engine(given)


def test_a_command_that_is_not_installed_is_said_before_a_task_is_taken() -> None:
    command.make_command_engine("sh -c true").check()
    with pytest.raises(TaskFailedError, match="no-such-program is not installed"):
        command.make_command_engine("no-such-program --flag").check()
