"""`devflow agent`: register, show, rotate, remove and start an agent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import settings
from devflow.agent_state import AgentState, Registration
from devflow.cli import start
from devflow.cli.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


def respond(request: ReceivedRequest) -> FakeResponse:
    if request.method == "POST":
        return FakeResponse(201, {"success": True, "agent": {"id": "build-1"}, "token": f"token-of-{request.path}"})
    if request.method == "DELETE":
        return FakeResponse(200, {"success": True, "agentId": "build-1"})
    return FakeResponse(200, {"id": "build-1", "status": "active", "machine": {}})


def test_registering_an_existing_id_suggests_replace(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    logged_in(lambda _: make_error(409, "Agent with this ID already exists for user", 'send "replace": true'))
    result = devflow("agent", "register", "--name", "build-1")
    assert (result.status, "--replace" in result.err) == (1, True)


def test_agent_is_registered_shown_rotated_and_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(respond)
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
    registration = state.load_registration()
    assert (registration.url, registration.agent_id, registration.token, registration.concurrency) == (
        platform.url,
        "build-1",
        "token-of-/api/agents",
        3,
    )

    status = devflow("agent", "status", *name, "--json").json
    assert status["local"] == {"process": None, "resultsWaiting": 0}
    renewed = "token-of-/api/agents/build-1/token"
    for flags, token in (((), "token-of-/api/agents"), (("--revoke",), "user-token")):
        assert devflow("agent", "rotate", *name, *flags).status == 0
        rotation = next(each for each in reversed(platform.requests) if each.path.endswith("/token"))
        assert (rotation.token, rotation.body) == (token, {"instanceId": state.load_instance_id()})
        stored = state.load_registration()
        assert (stored.token, stored.previous_token) == (renewed, None)
        state.save_registration(registration)
    (first_use,) = [each for each in platform.requests if each.path.endswith("/heartbeat")]
    assert first_use.token == renewed, "the platform ends a renewed token that is not used"

    assert devflow("agent", "remove", *name, "--yes").status == 0
    assert platform.paths()[-1] == "DELETE /api/agents/build-1"
    assert not state.directory.exists()


def test_rules_of_an_agent_are_registered_set_and_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    def respond(request: ReceivedRequest) -> FakeResponse:
        agent = {"id": "build-1", "repos": ["github.com/acme/*"], "submitters": None}
        return (
            FakeResponse(201, {"agent": agent, "token": "t"}) if request.method == "POST" else FakeResponse(200, agent)
        )

    platform = logged_in(respond)
    name = ("--name", "build-1")
    repos = ("--repos", "github.com/acme/*", "--repos", "github.com/beta/*")
    assert devflow("agent", "register", *name, *repos, "--submitters", "user-2").status == 0
    assert platform.requests[-1].body["repos"] == ["github.com/acme/*", "github.com/beta/*"]
    assert platform.requests[-1].body["submitters"] == ["user-2"]
    assert devflow("agent", "register", *name).status == 0
    assert not {"repos", "submitters"} & platform.requests[-1].body.keys(), "the agent keeps the rules that it has"

    result = devflow("agent", "set", *name, "--repos", "github.com/acme/*", "--any-submitter")
    assert (result.status, result.out) == (0, "agent       build-1\nrepos       github.com/acme/*\nsubmitters  all\n")
    assert platform.paths()[-1] == "PATCH /api/agents/build-1"
    assert platform.requests[-1].body == {"repos": ["github.com/acme/*"], "submitters": None}
    assert devflow("agent", "set", *name, "--any-repo", "--submitters", "user-2", "--json").json["id"] == "build-1"
    assert platform.requests[-1].body == {"repos": None, "submitters": ["user-2"]}
    sent = len(platform.requests)
    for flags in ((), (*repos, "--any-repo"), ("--submitters", "user-2", "--any-submitter")):
        assert devflow("agent", "set", *name, *flags).status == 2
    assert len(platform.requests) == sent


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
    platform = logged_in(respond)
    with AgentState(settings.state_path(), "build-1").lock():
        assert devflow("agent", "remove", "--name", "build-1", "--yes").status == 5
    assert platform.requests == []


def test_start_needs_a_registration_and_a_program(devflow: Callable[..., CommandResult], machine: Path) -> None:
    assert devflow("agent", "start", "--name", "build-1", "--command", "true").status == 4
    AgentState(settings.state_path(), "build-1").save_registration(
        Registration("http://a.example", "build-1", "token-1", 0.0)
    )
    for flags, status in (((), 2), (("--command", "no-such-program"), 1), (("--command", "true", "--pace", "x=1"), 2)):
        assert devflow("agent", "start", "--name", "build-1", "--sandbox", "none", *flags).status == status
    assert devflow("agent", "start", "--name", "../x", "--command", "true").status == 2


def test_name_of_the_agent_in_the_config_file_is_agent(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(respond)
    settings.update_config(settings.config_path(), agent="build-7")

    assert devflow("agent", "status").status == 0
    assert platform.paths() == ["GET /api/agents/build-7"]


def test_message_is_one_line_of_the_agents_log(capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation()
    log = start._make_logger(invocation)
    log("task-1\n2026-01-01T00:00:00Z forged\r\x1b[2J\x85\u2028x \u202eabc")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("Z task-1 2026-01-01T00:00:00Z forged x abc")

    invocation.json = True
    log("task-1\nforged\x1b[2J")
    assert json.loads(capsys.readouterr().out)["message"] == "task-1 forged"


def test_agent_is_not_dumpable_and_warns_of_a_token_of_the_user(machine: Path) -> None:
    code = (
        "import ctypes; from devflow.cli.invocation import Invocation; from devflow.cli import start\n"
        "invocation = Invocation(); invocation.config = {'token': 'user-token'}\n"
        "start._protect_secrets(invocation, print)\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    warning, dumpable = printed.splitlines()
    assert "contains the token of a user" in warning
    assert "devflow agent register --registration-token-stdin" in warning
    assert "user-token" not in warning
    assert dumpable == "0"


def test_agent_may_open_as_many_files_as_the_system_lets_it() -> None:
    """With `--network proxy`, an engine can make the agent open 512 files. It may open 1024 by default."""
    code = (
        "import resource; from devflow.cli import start\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 500)); start.allow_open_files()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "(500, 500)"
