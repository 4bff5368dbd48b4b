"""The command line against a stand-in: settings and their order, exit codes, what is shown, what never is."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import settings
from devflow.agent_state import AgentState, Registration
from devflow.api_client import ApiClient
from devflow.cli import main, task_watcher
from devflow.cli.repository import Repository
from devflow.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

USER = {"id": "user-1", "email": "user@example.com", "name": "John Doe"}
TASK = {
    "id": "task-1", "status": "completed", "attempt": 1, "progress": 1.0, "currentStep": "Testing",
    "agentId": "build-1", "startedAt": "2025-01-24T00:00:00Z", "error": None, "details": None,
    "summary": "Fixed", "output": "all of it",
    "prUrl": None, "resultFiles": {"commit": "abc", "files": ["a.py"]}, "intent": "fix-bug",
    "createdAt": "2025-01-24T00:00:00Z", "updatedAt": "2025-01-24T00:00:03Z", "description": "Fix \x1b[31mit\nnow",
}  # fmt: skip
LOG = {"taskId": "task-1", "attempt": 1, "offset": 0, "data": "", "nextOffset": 0, "complete": True, "truncated": False}


class CommandResult:
    """What one command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):  # named by stamina
        yield


@pytest.fixture
def devflow(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Run `devflow` in this process: `devflow("tasks", "list")`."""

    def run(*arguments: str) -> CommandResult:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        return CommandResult(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def logged_in(start_platform: Callable[..., FakePlatform]) -> Callable[..., FakePlatform]:
    """A platform that the config file names, with a token for it."""

    def start(answer: Callable[[ReceivedRequest], FakeResponse]) -> FakePlatform:
        platform = start_platform(answer)
        settings.update_config(settings.config_path(), url=platform.url, token="user-token")
        return platform

    return start


def login(request: ReceivedRequest) -> FakeResponse:
    if request.body == {"email": "user@example.com", "pin": "123456"}:
        return FakeResponse(200, {"success": True, "token": "new-token", "user": USER})
    return make_error(401, "Invalid email or PIN")


def test_version_and_completion_scripts_are_printed(devflow: Callable[..., CommandResult]) -> None:
    assert devflow("--version").out == "devflow, version 0.1.0\n"
    for shell in ("bash", "zsh", "fish"):
        script = devflow("completion", shell)
        assert (script.status, "_DEVFLOW_COMPLETE" in script.out) == (0, True)


@pytest.mark.parametrize(
    "wrong",
    [("nothing",), ("run",), ("tasks", "show"), ("tasks", "list", "--limit", "0"), ("tasks", "show", "../agents")],
)
def test_wrong_usage_exits_2(
    devflow: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DEVFLOW_TOKEN", "user-token")
    result = devflow(*wrong)
    assert (result.status, result.out) == (2, "")
    assert result.err


def test_magic_link_and_token_stdin_exclude_each_other(devflow: Callable[..., CommandResult]) -> None:
    assert devflow("login", "--magic-link", "--token-stdin").status == 2


def test_error_before_a_command_is_found_is_json_too(devflow: Callable[..., CommandResult], machine: Path) -> None:
    settings.update_config(settings.config_path(), token="user-token")
    settings.config_path().chmod(0o644)
    result = devflow("tasks", "list", "--json")
    assert (result.status, result.out) == (2, "")
    assert json.loads(result.err)["exitCode"] == 2


def test_list_is_the_default_command_and_accepts_its_options(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, {"data": [TASK]}))
    assert devflow("tasks", "--json", "--status", "completed").json == {"data": [TASK]}
    assert platform.paths() == ["GET /api/tasks?status=completed&limit=20"]
    assert "cancel" in devflow("tasks", "--help").out


@pytest.mark.parametrize("end", ["\r", "\n", " "])
def test_white_space_after_a_token_is_ignored(
    devflow: Callable[..., CommandResult],
    start_platform: Callable[..., FakePlatform],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    platform = start_platform(lambda _: FakeResponse(200, {"data": []}))
    monkeypatch.setenv("DEVFLOW_TOKEN", f"user-token{end}")
    assert devflow("tasks", "list", "--url", platform.url).status == 0
    assert platform.requests[0].token == "user-token"


def test_invalid_token_is_not_printed(devflow: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVFLOW_TOKEN", "hush-hush\nhush")
    result = devflow("tasks", "list")
    assert (result.status, "hush" in result.err) == (2, False)
    assert "The token is not one" in result.err


def test_url_without_a_scheme_is_rejected(devflow: Callable[..., CommandResult]) -> None:
    result = devflow("tasks", "list", "--url", "localhost:3000")
    assert (result.status, "looks like https://" in result.err) == (2, True)


@pytest.mark.parametrize(
    "command", [("tasks", "list"), ("run", "x", "--repo", "https://a.example/r", "--detach"), ("agent", "register")]
)
def test_response_of_another_program_is_recognized(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], command: tuple[str, ...]
) -> None:
    logged_in(lambda _: FakeResponse(200, {}))
    result = devflow(*command)
    assert (result.status, "is the address right?" in result.err) == (1, True), result.err


def test_registering_an_existing_id_suggests_replace(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: make_error(409, "Agent with this ID already exists for user", 'send "replace": true'))
    result = devflow("agent", "register", "--name", "build-1")
    assert (result.status, "--replace" in result.err) == (1, True)


def test_login_with_a_pin_stores_the_token_for_later_commands(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = start_platform(login)
    monkeypatch.setenv("DEVFLOW_PIN", "123456")

    result = devflow("login", "--url", platform.url, "--email", "user@example.com")

    assert (result.status, result.out) == (0, f"Logged in to {platform.url} as John Doe (user@example.com).\n")
    assert settings.load_config(settings.config_path()) == {"url": platform.url, "token": "new-token"}
    platform.respond = lambda _: FakeResponse(200, {"data": []})
    assert devflow("tasks").status == 0
    assert platform.requests[-1].token == "new-token"

    assert devflow("logout").status == 0
    assert (platform.paths()[-1], platform.requests[-1].token) == ("POST /api/auth/logout", "new-token")
    assert settings.load_config(settings.config_path()) == {"url": platform.url}
    assert devflow("logout").status == 0, "there is nothing to end"
    assert devflow("tasks").status == 4


@pytest.mark.parametrize(("answer", "noted"), [(make_error(401), ""), (FakeResponse(503, {}), "may go on living")])
def test_logout_removes_the_token_even_if_the_platform_fails(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], answer: FakeResponse, noted: str
) -> None:
    platform = logged_in(lambda _: answer)

    result = devflow("logout")

    assert (result.status, noted in result.err) == (0, True)
    assert settings.load_config(settings.config_path()) == {"url": platform.url}


def test_login_with_a_link(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/verify"):
            return FakeResponse(200, {"success": True, "token": "new-token", "user": USER})
        return FakeResponse(202, {"success": True})

    platform = start_platform(answer)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{platform.url}/login/link#secret-of-it \n"))

    result = devflow("login", "--url", platform.url, "--email", "user@example.com", "--magic-link")

    assert (result.status, [request.body for request in platform.requests]) == (
        0, [{"email": "user@example.com"}, {"token": "secret-of-it"}],
    )  # fmt: skip
    assert settings.load_config(settings.config_path())["token"] == "new-token"


def test_wrong_pin_exits_4_and_keeps_the_config_file(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = logged_in(login)
    monkeypatch.setenv("DEVFLOW_PIN", "000000")

    result = devflow("login", "--email", "user@example.com")

    assert (result.status, result.err) == (4, "devflow: Invalid email or PIN: no\n")
    assert settings.load_config(settings.config_path()) == {"url": platform.url, "token": "user-token"}


def test_token_from_standard_input_is_checked_before_it_is_stored(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "user-token-1": FakeResponse(200, {"user": USER}),
        "agent-token": make_error(403),
        "bad": make_error(401),
    }
    platform = start_platform(lambda request: answers[request.token])

    def given(text: str) -> CommandResult:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return devflow("login", "--url", platform.url, "--token-stdin", "--json")

    assert [given(text).status for text in ("", "bad\n", "agent-token\n")] == [2, 4, 4]
    assert settings.load_config(settings.config_path()) == {}
    result = given("user-token-1\n")
    assert (result.status, result.json) == (0, {"success": True, "url": platform.url, "user": USER})
    assert platform.paths()[-1] == "GET /api/auth/me"
    assert settings.load_config(settings.config_path())["token"] == "user-token-1"


def test_flags_precede_variables_and_variables_precede_the_config_file(
    devflow: Callable[..., CommandResult],
    start_platform: Callable[..., FakePlatform],
    logged_in: Callable[..., FakePlatform],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_file = logged_in(lambda _: FakeResponse(200, {"data": [], "of": "file"}))
    in_environment = start_platform(lambda _: FakeResponse(200, {"data": [], "of": "environment"}))
    in_flag = start_platform(lambda _: FakeResponse(200, {"data": [], "of": "flag"}))

    assert devflow("tasks", "list", "--json").json["of"] == "file"
    monkeypatch.setenv("DEVFLOW_TOKEN", "environments-token")
    assert devflow("tasks", "list", "--json").json["of"] == "file"
    assert in_file.requests[-1].token == "environments-token"
    monkeypatch.setenv("DEVFLOW_URL", in_environment.url)
    assert devflow("tasks", "list", "--json").json["of"] == "environment"
    assert devflow("tasks", "list", "--json", "--url", in_flag.url).json["of"] == "flag"


def test_stored_token_is_sent_only_to_the_platform_that_issued_it(
    devflow: Callable[..., CommandResult],
    start_platform: Callable[..., FakePlatform],
    logged_in: Callable[..., FakePlatform],
) -> None:
    logged_in(lambda _: FakeResponse(200, {"data": []}))
    other = start_platform(lambda _: FakeResponse(200, {"data": []}))

    result = devflow("tasks", "list", "--url", other.url)

    assert (result.status, other.requests) == (4, [])
    assert f"devflow login --url {other.url}" in result.err


def test_every_command_rejects_a_config_file_that_others_can_read(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, {"data": []}))
    settings.config_path().chmod(0o644)

    for command in (("tasks",), ("login", "--token-stdin"), ("agent", "status"), ("run", "x")):
        result = devflow(*command)
        assert result.status == 2
        assert "chmod 600" in result.err
        assert "user-token" not in result.err
    assert platform.requests == []


def test_unknown_setting_is_rejected(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: FakeResponse(200, {"data": []}))
    settings.update_config(settings.config_path(), concurency="2")

    result = devflow("tasks")
    assert (result.status, "concurency" in result.err) == (2, True)


def test_errors_are_json_with_the_json_option(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: make_error(404, "Task not found"))

    result = devflow("tasks", "show", "task-1", "--json")

    assert (result.status, result.out) == (1, "")
    assert json.loads(result.err) == {"error": "Task not found: no", "exitCode": 1}


def test_token_is_redacted_in_messages_of_the_platform(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda request: make_error(400, "Invalid request", f"you sent {request.headers['Authorization']}"))

    result = devflow("tasks", "show", "task-1")

    assert result.err == "devflow: Invalid request: you sent Bearer ***\n"


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

    shown = devflow("tasks", "show", "task-1").out

    assert "summary" in shown
    assert "prUrl" not in shown
    assert "description\n    Fix it\n    now\n" in shown
    assert devflow("tasks", "show", "task-1", "--json").json == TASK


def test_log_is_read_to_its_end(devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]) -> None:
    pages = {0: ("one\n", 4), 4: ("two\n", 8), 8: ("", 8)}

    def answer(request: ReceivedRequest) -> FakeResponse:
        offset = int(request.path.partition("offset=")[2].partition("&")[0])
        data, after = pages[offset]
        return FakeResponse(200, LOG | {"offset": offset, "data": data, "nextOffset": after})

    platform = logged_in(answer)
    assert devflow("tasks", "logs", "task-1", "--attempt", "1").out == "one\ntwo\n"
    assert platform.paths()[0] == "GET /api/tasks/task-1/logs?offset=0&attempt=1"
    assert devflow("tasks", "logs", "task-1", "--json").json["data"] == "one\ntwo\n"
    assert devflow("tasks", "logs", "task-1", "-f", "--attempt", "1").status == 2


@pytest.mark.parametrize(
    ("command", "answer", "shown"),
    [
        ("cancel", {"status": "cancelled", "cancelRequested": False}, "task-1: cancelled\n"),
        ("cancel", {"status": "in_progress", "cancelRequested": True}, "task-1: its agent is asked to stop\n"),
        ("retry", {"taskId": "task-2"}, "task-2\n"),
    ],
)
def test_cancel_and_retry_print_the_outcome(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], command: str, answer: Any, shown: str
) -> None:
    platform = logged_in(lambda _: FakeResponse(200, answer))

    assert devflow("tasks", command, "task-1").out == shown
    assert platform.paths() == [f"POST /api/tasks/task-1/{command}"]


def event(what: str, detail: str | None = None, attempt: int = 1) -> dict[str, Any]:
    return {"type": f"task.{what}", "timestamp": "2025-01-24T00:00:00Z", "attempt": attempt, "detail": detail}


class Life:
    """A task that goes on with each look at it."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self.looks = [TASK | look for look in looks]
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
        return FakeResponse(200, self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_watcher, "POLL_SECONDS", 0.0)


def test_run_submits_a_task_follows_it_and_prints_the_result(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], at_once: None
) -> None:
    life = Life(
        {"status": "queued", "progress": 0.0, "currentStep": None}, {"status": "in_progress", "progress": 0.5}, {}
    )
    logged_in(life)

    result = devflow(
        "run", "Fix the null pointer", "--repo", "https://me:secret-word@github.com/u/r", "--branch", "main",
        "--intent", "feature", "--agent", "build-1", "--priority", "5", "--timeout", "60", "--max-attempts", "3",
        "--context", "issueId=123", "--context", 'labels=["a"]', "--task-id", "mine",
    )  # fmt: skip

    assert life.submitted == {
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


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_run_exits_1_if_the_task_does_not_succeed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], at_once: None, status: str
) -> None:
    logged_in(Life({"status": status, "error": "no"}))

    result = devflow("run", "x", "--repo", "https://a.example/r", "--json")

    assert (result.status, result.json["status"]) == (1, status)


def test_detach_prints_only_the_task_id(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(Life({}))

    result = devflow("run", "x", "--repo", "https://a.example/r", "--detach")

    assert (result.status, result.out, len(platform.requests)) == (0, "task-1\n", 1)


def test_watcher_follows_the_log_into_the_next_attempt_and_through_an_outage(
    start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([
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
    platform = start_platform(lambda _: next(answers))
    notes: list[str] = []
    watching = task_watcher.TaskWatcher(
        ApiClient(platform.url), "task-1", sleep=lambda _: None, print_note=notes.append
    )

    looks = list(watching.snapshots())
    assert [look.new_log for look in looks] == ["first\n", "second\n", ""]
    assert [len(look.new_events) for look in looks] == [1, 0, 0]
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
    assert Repository.resolve(str(clone)).branch is None, "origin does not have it"
    git("push", "origin", "main", cwd=clone)

    assert Repository.resolve(str(clone)) == Repository(str(origin), "main", [])
    (clone / "a").write_text("changed", encoding="utf-8")
    assert Repository.resolve(str(clone)).warnings == ["What is not pushed the agent does not see"]
    git("remote", "set-url", "origin", "https://me:secret-word@github.com/u/r.git", cwd=clone)
    assert Repository.resolve(str(clone)).url == "https://github.com/u/r.git"
    git("remote", "remove", "origin", cwd=clone)
    assert Repository.resolve(str(clone)).url == str(clone)
    assert Repository.resolve(str(origin)).url == str(origin), "a bare repository is an origin itself"


def test_path_that_is_not_a_repository_is_rejected(tmp_path: Path) -> None:
    for given in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(SettingsError):
            Repository.resolve(given)
    assert Repository.resolve("git@github.com:u/r.git").url == "git@github.com:u/r.git"


def agents(request: ReceivedRequest) -> FakeResponse:
    if request.method == "POST":
        return FakeResponse(201, {"success": True, "agent": {"id": "build-1"}, "token": f"token-of-{request.path}"})
    if request.method == "DELETE":
        return FakeResponse(200, {"success": True, "agentId": "build-1"})
    return FakeResponse(200, {"id": "build-1", "status": "active", "machine": {}})


def test_agent_is_registered_shown_rotated_and_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(agents)
    state = AgentState(settings.state_path(), "build-1")
    name = ("--name", "build-1")

    result = devflow("agent", "register", *name, "--capability", "fix-bug", "--concurrency", "3", "--json")
    assert (result.status, result.json) == (0, {"success": True, "agent": {"id": "build-1"}})
    (request,) = platform.requests
    assert request.headers["Idempotency-Key"]
    assert (request.body["agentId"], request.body["capabilities"], request.body["replace"]) == (
        "build-1",
        ["fix-bug"],
        False,
    )
    kept = state.load_registration()
    assert (kept.url, kept.agent_id, kept.token, kept.concurrency) == (
        platform.url,
        "build-1",
        "token-of-/api/agents",
        3,
    )

    shown = devflow("agent", "status", *name, "--json").json
    assert shown["local"] == {"process": None, "resultsWaiting": 0}
    for flags, token in (((), "token-of-/api/agents"), (("--revoke",), "user-token")):
        assert devflow("agent", "rotate", *name, *flags).status == 0
        assert platform.requests[-1].token == token
        assert state.load_registration().token == "token-of-/api/agents/build-1/token"
        state.save_registration(kept)

    assert devflow("agent", "remove", *name, "--yes").status == 0
    assert platform.paths()[-1] == "DELETE /api/agents/build-1"
    assert not state.directory.exists()


def test_agent_missing_on_the_platform_can_be_shown_and_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: make_error(404, "Agent not found"))
    state = AgentState(settings.state_path(), "build-1")
    state.save_registration(Registration("http://a.example", "build-1", "token-1", 0.0))

    assert devflow("agent", "status", "--name", "build-1", "--json").json["status"] == "not registered"
    assert devflow("agent", "remove", "--name", "build-1", "--yes").status == 0
    assert not state.directory.exists()


def test_running_agent_is_not_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(agents)
    with AgentState(settings.state_path(), "build-1").lock():
        assert devflow("agent", "remove", "--name", "build-1", "--yes").status == 5
    assert platform.requests == []


def test_start_needs_a_registration_and_a_program(devflow: Callable[..., CommandResult], machine: Path) -> None:
    assert devflow("agent", "start", "--name", "build-1", "--command", "true").status == 4
    AgentState(settings.state_path(), "build-1").save_registration(
        Registration("http://a.example", "build-1", "token-1", 0.0)
    )
    for flags, status in (((), 2), (("--command", "no-such-program"), 1), (("--command", "true", "--pace", "x=1"), 2)):
        assert devflow("agent", "start", "--name", "build-1", *flags).status == status
    assert devflow("agent", "start", "--name", "../x", "--command", "true").status == 2


def test_progress_bar_shows_the_task_and_its_log() -> None:
    from rich.console import Console  # noqa: PLC0415

    from devflow.cli.progress_bar import ProgressBar  # noqa: PLC0415

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with ProgressBar(console) as bar:
        shown = TASK | {"status": "in_progress", "progress": 0.5, "attempt": 2}
        bar.update(task_watcher.TaskSnapshot(shown, "one\n[bold]two\x1b[2J\n", []))
    assert isinstance(console.file, io.StringIO)
    seen = console.file.getvalue()
    for text in ("one", "[bold]two", "in_progress (attempt 2)", "50%", "Testing"):
        assert text in seen
    assert "\x1b[2J" not in seen
