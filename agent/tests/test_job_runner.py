"""JobRunner with real git, real programs and a fake platform."""

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
from devflow.git_url import RepoPattern
from devflow.intervals import Intervals
from devflow.job_runner import JobContext, JobRunner
from devflow.outbox import Outbox, TaskResult
from devflow.redaction import add_secret
from devflow.sandbox import Sandbox
from devflow.task_assignment import TaskAssignment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def origin(tmp_path: Path, machine: Path) -> Path:
    """Return a bare repository with one commit."""
    seed = tmp_path / "seed"
    git("init", "--quiet", str(seed), cwd=tmp_path)
    (seed / "login.py").write_text("bug\n", encoding="utf-8")
    git("add", "--all", cwd=seed)
    git("commit", "--quiet", "--message=a commit", cwd=seed)
    git("clone", "--quiet", "--bare", str(seed), "origin.git", cwd=tmp_path)
    return tmp_path / "origin.git"


class Scenario:
    """The context of an agent's jobs."""

    def __init__(self, platform: FakePlatform, directory: Path, origin: Path) -> None:
        self.platform, self.origin, self.log_lines = platform, origin, []
        self.sent_results: list[TaskResult] = []
        self.engine_code = "open('login.py', 'w').write('fixed\\n'); print('Fixed it')"
        self.context = JobContext(
            directory,
            command.make_command_engine("true"),
            ApiClient(platform.url, "token"),
            Outbox(directory / "outbox"),
            self.sent_results.append,
            self.log_lines.append,
            intervals=Intervals(grace=0.2, flush=30, log=0.01),
            allowed_protocols=["file"],
        )

    log_lines: list[str]

    def job(self, code: str, **task: Any) -> JobRunner:
        given = {"task_id": "task-1", "attempt": 1, "intent": "fix-bug", "repo": str(self.origin), "branch": "main"}
        given |= {"description": "Fix the login", "context": {"issueId": "123"}, "timeoutSeconds": 60} | task
        engine = command.make_command_engine(f"{shlex.quote(sys.executable)} -u -c {shlex.quote(code)}")
        return JobRunner(TaskAssignment.from_json(given), replace(self.context, engine=engine))

    def run(self, code: str, **task: Any) -> dict[str, Any]:
        """Run a job. Returns the body of its result, and the kind."""
        self.job(code, **task).run()
        (result,) = self.sent_results
        assert self.context.outbox.load_all() == [result], "it is on disk before it is sent"
        return {"kind": result.kind} | result.body

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.context.directory / "work").glob("*"))


def fine(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith("/logs"):
        end = request.body["offset"] + len(request.body["data"].encode())
        return FakeResponse(200, {"nextOffset": end, "truncated": False})
    return FakeResponse(200, {"success": True, "cancelRequested": False})


@pytest.fixture
def scenario(start_platform: Callable[..., FakePlatform], tmp_path: Path, origin: Path) -> Scenario:
    return Scenario(start_platform(fine), tmp_path / "agent", origin)


REPORT = "import json, os\ndef report(**event): print(os.environ['DEVFLOW_MARKER'], json.dumps(event))\n"
"""Code that defines how a program reports."""
FIX = "open('login.py', 'w').write('fixed\\n'); print('Fixed it')"


def test_fixed_bug_is_pushed_and_the_result_contains_the_commit(scenario: Scenario) -> None:
    report = scenario.run(FIX)

    branch = "devflow/task-1-attempt-1"
    commit = git("rev-parse", branch, cwd=scenario.origin)
    assert (report["kind"], report["success"], report["summary"], report["attempt"]) == (
        "complete",
        True,
        "Fixed it",
        1,
    )
    assert report["resultFiles"] == {"commit": commit, "branch": branch, "files": ["login.py"]}
    assert git("show", f"{branch}:login.py", cwd=scenario.origin) == "fixed"
    assert git("log", "-1", "--format=%B", branch, cwd=scenario.origin) == (
        "Fix the login\n\nDevFlow-Task: task-1\nDevFlow-Attempt: 1"
    )
    assert "No pull request was opened" in report["output"]
    log = "".join(body["data"] for body in scenario.platform.bodies("/logs"))
    assert report["logBytes"] == len(log.encode()) > 0, "so that readers of the log know where it ends"
    assert scenario.left() == []
    steps = [body["step"] for body in scenario.platform.bodies("/progress")]
    assert steps == list(dict.fromkeys(steps)), "each once"
    assert (steps[0], steps[-2:]) == ("Starting", ["Pushing the branch", "Opening a pull request"])
    far = [body["progress"] for body in scenario.platform.bodies("/progress")]
    assert far == sorted(far)


def test_engine_gets_the_task_on_stdin_in_a_file_and_in_variables(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVFLOW_TOKEN", "secret-token")
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "SSH_AUTH_SOCK", "MINE", "DEVFLOW_MINE"):
        monkeypatch.setenv(name, "of-the-user")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret-word@proxy.example")
    monkeypatch.setenv("http_proxy", "http://proxy.example")
    monkeypatch.setenv("LC_TIME", "C")
    scenario.context = replace(scenario.context, sandbox=Sandbox(pass_names=("MINE", "DEVFLOW_MINE")))
    code = (
        "import json, os, sys\n"
        "seen = {'stdin': json.load(sys.stdin), 'file': json.load(open(os.environ['DEVFLOW_TASK_FILE'])),"
        " 'env': dict(os.environ), 'cwd': os.listdir('.')}\n"
        f"json.dump(seen, open({str(tmp_path / 'seen')!r}, 'w'))"
    )
    scenario.run(code, intent="explain", description="Why\0so \ud800?")

    seen = json.loads((tmp_path / "seen").read_text(encoding="utf-8"))
    assert seen["stdin"] == seen["file"] == json.loads(seen["env"]["DEVFLOW_TASK"])
    assert (seen["stdin"]["task_id"], seen["stdin"]["description"]) == ("task-1", "Why\0so \ud800?")
    env = seen["env"]
    assert (env["DEVFLOW_TASK_ID"], env["DEVFLOW_ATTEMPT"], env["DEVFLOW_INTENT"]) == ("task-1", "1", "explain")
    assert (env["DEVFLOW_REPO"], env["DEVFLOW_BRANCH"]) == (str(scenario.origin), "main")
    assert (env["DEVFLOW_DESCRIPTION"], env["DEVFLOW_CONTEXT"]) == (
        "Why\N{REPLACEMENT CHARACTER}so ??",
        '{"issueId": "123"}',
    )
    assert "DEVFLOW_TOKEN" not in env
    names = {"MINE", "http_proxy", "LC_TIME", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "SSH_AUTH_SOCK"}
    assert names & set(env) == {"MINE", "http_proxy", "LC_TIME"}
    assert "of-the-user" not in json.dumps(env).replace('"MINE": "of-the-user"', "")
    assert "s3cret-word" not in json.dumps(env)
    assert sorted(seen["cwd"]) == [".git", "login.py"]


def test_task_too_large_for_a_variable_is_complete_on_stdin_and_in_the_file(scenario: Scenario, tmp_path: Path) -> None:
    seen = str(tmp_path / "seen")
    code = f"import os, sys; print(len(sys.stdin.read()), 'DEVFLOW_TASK' in os.environ, file=open({seen!r}, 'w'))"
    scenario.run(code, intent="explain", description="x" * 250_000)

    length, there = (tmp_path / "seen").read_text(encoding="utf-8").split()
    assert int(length) > 250_000
    assert there == "False"


@pytest.mark.parametrize("intent", ["explain", "review-pr"])
def test_explanation_or_review_pushes_nothing(scenario: Scenario, intent: str) -> None:
    report = scenario.run(FIX + "; print('It is because of that.')", intent=intent)

    assert (report["kind"], report["summary"]) == ("complete", "It is because of that.")
    assert report["output"] == "Fixed it\nIt is because of that."
    assert "resultFiles" not in report
    assert git("branch", "--list", "devflow/*", cwd=scenario.origin) == ""


@pytest.mark.parametrize(("code", "pushed"), [(FIX, True), ("print('nothing to do')", False)])
def test_other_intent_is_pushed_only_if_something_has_changed(scenario: Scenario, code: str, *, pushed: bool) -> None:
    report = scenario.run(code, intent="upgrade")

    assert report["kind"] == "complete"
    assert ("resultFiles" in report) == pushed


def test_bug_fix_without_a_change_fails(scenario: Scenario) -> None:
    report = scenario.run("print('I see no bug')")

    assert (report["kind"], report["error"], report["details"]) == (
        "fail",
        "The engine command changed nothing",
        "I see no bug",
    )


def test_failing_engine_fails_the_task_with_its_last_line(scenario: Scenario) -> None:
    report = scenario.run("import sys; print('working'); sys.exit('cannot do it')")

    assert report["error"] == "The engine command failed with exit status 1: cannot do it"
    assert report["details"] == "working\ncannot do it"
    assert scenario.left() == []


def test_engine_may_report_its_own_error(scenario: Scenario) -> None:
    report = scenario.run(REPORT + "report(error='the tests still fail')")
    assert (report["kind"], report["error"]) == ("fail", "the tests still fail")


def test_long_answer_of_an_engine_is_the_output(scenario: Scenario) -> None:
    answer = "a long answer " * 5_000
    report = scenario.run(f"{REPORT}report(summary='Explained', output={answer!r})", intent="explain")

    assert (report["kind"], report["summary"], report["output"]) == ("complete", "Explained", answer)


def test_many_changed_files_do_not_make_a_report_too_large(scenario: Scenario) -> None:
    report = scenario.run("for number in range(2_000): open(f'{number:0100}', 'w').close()")

    files = report["resultFiles"]
    assert (report["kind"], files["truncated"], len(files["files"])) == ("complete", True, 470)


def test_printed_lines_cannot_forge_a_report(scenario: Scenario) -> None:
    """The engine prints a file of the repository, or runs a test that prints this."""
    line = '::devflow {"summary": "forged", "error": "forged", "step": "forged", "prUrl": "https://evil.example"}'
    report = scenario.run(REPORT + f"print({line!r}); print({line!r}); report(summary='true')\n" + FIX)

    assert (report["kind"], report["summary"]) == ("complete", "true")
    assert "prUrl" not in report
    assert "forged" not in [body["step"] for body in scenario.platform.bodies("/progress")]
    log = "".join(body["data"] for body in scenario.platform.bodies("/logs"))
    assert log.count("forged") == 6, "the lines are in the log"
    assert log.count("does not begin with $DEVFLOW_MARKER") == 1


@pytest.mark.parametrize("url", ["https://github.com/acme/shop/pull/1", "javascript:alert(1)", "https://[::1/x"])
def test_pull_request_on_another_host_is_ignored(scenario: Scenario, url: str) -> None:
    report = scenario.run(REPORT + f"report(prUrl={url!r})\n" + FIX)

    assert report["kind"] == "complete"
    assert "prUrl" not in report
    assert "pull request that is not on" in "".join(body["data"] for body in scenario.platform.bodies("/logs"))


def test_killed_engine_fails_the_task(scenario: Scenario) -> None:
    assert scenario.run("import os; os.kill(os.getpid(), 11)")["error"] == "The engine command was killed by signal 11"


def test_progress_of_the_engine_is_scaled_between_clone_and_push(scenario: Scenario) -> None:
    scenario.run(REPORT + "for far in (0, 0.5, 1): report(step=f'Part {far}', progress=far)\n" + FIX)

    progress = {body["step"]: body["progress"] for body in scenario.platform.bodies("/progress")}
    assert [progress["Part 0"], progress["Part 0.5"], progress["Part 1"]] == pytest.approx([0.1, 0.45, 0.8])


def test_failing_clone_fails_the_task(scenario: Scenario, tmp_path: Path) -> None:
    report = scenario.run(FIX, repo=str(tmp_path / "none"))
    assert (report["kind"], report["error"]) == ("fail", "Repository clone failed")
    assert "does not exist" in report["details"] or "not appear to be" in report["details"]


def test_repository_that_is_not_allowed_fails_the_task(scenario: Scenario) -> None:
    scenario.context = replace(scenario.context, allowed_protocols=["https"])
    assert "does not use file" in scenario.run(FIX)["error"]


def test_repository_at_a_private_address_is_refused_unless_it_is_allowed(scenario: Scenario) -> None:
    requests: list[ReceivedRequest] = []

    def host(request: ReceivedRequest) -> FakeResponse:
        requests.append(request)
        return FakeResponse(404, b"")

    git_host = type(scenario.platform)(host)
    scenario.context = replace(scenario.context, allowed_protocols=["http"])
    try:
        scenario.job(FIX, repo=f"{git_host.url}/r.git").run()
        assert requests == []
        patterns = [RepoPattern.parse(f"{git_host.url}/*")]
        scenario.context = replace(scenario.context, allowed_repos=patterns)
        scenario.job(FIX, repo=f"{git_host.url}/r.git", attempt=2).run()
        assert requests
    finally:
        git_host.end()
    assert "private address" in scenario.sent_results[0].body["error"]
    assert scenario.sent_results[1].body["error"] == "Repository clone failed"


def test_cancelled_task_ends_the_engine_and_reports_it(scenario: Scenario, tmp_path: Path) -> None:
    started = tmp_path / "started"
    job = scenario.job(f"import time; open({str(started)!r}, 'w').close(); print('begun', flush=True); time.sleep(300)")
    scenario.platform.respond = lambda request: (
        FakeResponse(200, {"success": True, "cancelRequested": True})
        if request.path.endswith("/progress") and started.exists()
        else fine(request)
    )
    job._context = replace(job._context)
    job._reporter._intervals = Intervals(progress=0.05, log=0.05)
    job.run()

    (result,) = scenario.sent_results
    assert (result.kind, result.body) == ("fail", {"error": "Cancelled", "attempt": 1, "logBytes": len("begun\n")})
    assert git("branch", "--list", "devflow/*", cwd=scenario.origin) == ""
    assert scenario.left() == []


def test_task_lost_to_another_agent_is_neither_pushed_nor_reported(scenario: Scenario) -> None:
    pushing = {"Pushing the branch"}
    scenario.platform.respond = lambda request: (
        make_error(409, message="attempt 1 is over: stop working on it")
        if request.body.get("step") in pushing
        else fine(request)
    )
    scenario.job(FIX).run()

    assert scenario.sent_results == []
    assert scenario.context.outbox.load_all() == []
    assert git("branch", "--list", "devflow/*", cwd=scenario.origin) == ""
    assert "attempt 1 is over" in scenario.log_lines[-1]
    assert scenario.left() == []


def test_expired_claim_is_not_started(scenario: Scenario, tmp_path: Path) -> None:
    scenario.platform.respond = lambda _: make_error(409)
    scenario.job(f"open({str(tmp_path / 'ran')!r}, 'w')").run()

    assert scenario.sent_results == []
    assert not (tmp_path / "ran").exists()


def test_job_reports_nothing_when_the_agent_shuts_down(scenario: Scenario) -> None:
    job = scenario.job("import time; print('begun', flush=True); time.sleep(300)")

    def respond(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/logs"):
            job.cancel_token.cancel(CancelReason.AGENT_SHUTDOWN)
        return fine(request)

    scenario.platform.respond = respond
    job.run()

    assert scenario.sent_results == []
    assert scenario.context.outbox.load_all() == []


def test_workspace_of_a_failed_task_is_kept_on_request(scenario: Scenario) -> None:
    scenario.context = replace(scenario.context, keep_failed=True)
    scenario.run("open('half.py', 'w').close(); exit(1)")

    kept = scenario.context.directory / "kept" / "task-1-attempt-1" / "repo"
    assert (kept / "half.py").exists()
    assert scenario.left() == []
    assert any(str(kept.parent) in line for line in scenario.log_lines)


def test_secret_printed_by_the_engine_is_redacted_everywhere(scenario: Scenario) -> None:
    add_secret("ghp_0123456789")
    code = "print('token: ghp_0123456789'); report(step='ghp_0123456789')\n"
    code += "print(os.environ['DEVFLOW_MARKER'], '{\"step\": \"\\\\u0067hp_0123456789\"}'); exit(1)"
    report = scenario.run(REPORT + code)

    assert "token: ***" in report["error"]
    sent = json.dumps([request.body for request in scenario.platform.requests])
    assert "token: ***" in sent
    assert "ghp_0123456789" not in sent + json.dumps(report) + "".join(scenario.log_lines)


def test_password_in_the_url_is_in_no_argument_and_no_message(scenario: Scenario, tmp_path: Path) -> None:
    git_requests: list[ReceivedRequest] = []

    def host(request: ReceivedRequest) -> FakeResponse:
        git_requests.append(request)
        return FakeResponse(401, b"", {"WWW-Authenticate": 'Basic realm="git"'})

    git_host = type(scenario.platform)(host)
    arguments = tmp_path / "arguments"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {arguments}\nexec {real} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{wrapper.parent}:/usr/bin:/bin")
            scenario.context = replace(scenario.context, allowed_protocols=["http"], allow_private_hosts=True)
            report = scenario.run(FIX, repo=git_host.url.replace("http://", "http://me:s3cret-word@") + "/r.git")
    finally:
        git_host.end()

    basic = {request.headers.get("Authorization", "") for request in git_requests}
    assert "Basic bWU6czNjcmV0LXdvcmQ=" in basic, "git got the password"
    assert report["error"] == "Repository clone failed"
    assert "s3cret-word" not in arguments.read_text(encoding="utf-8")
    assert "s3cret-word" not in json.dumps(report) + "".join(scenario.log_lines)


def test_full_disk_is_logged_and_nothing_is_reported(scenario: Scenario) -> None:
    directory = scenario.context.directory / "outbox"
    job = scenario.job("exit(1)")
    directory.touch()
    job.run()

    assert scenario.sent_results == []
    assert any("cannot be saved" in line for line in scenario.log_lines)


@pytest.mark.parametrize("given", ["", "  ", "unfinished 'quote"])
def test_invalid_command_line_is_rejected(given: str) -> None:
    with pytest.raises(SettingsError):
        command.make_command_engine(given)


def test_missing_program_is_reported_before_a_task_is_accepted() -> None:
    command.make_command_engine("sh -c true").check()
    with pytest.raises(TaskFailedError, match="no-such-program is not installed"):
        command.make_command_engine("no-such-program --flag").check()
