"""`devflow agent registration-token`, and registering an agent with such a token."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import settings
from devflow.agent_state import AgentState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

TOKEN = "a-registration-token"
DESCRIBED = {
    "id": "token-1", "uses": 3, "used": 1, "expiresAt": "2026-12-01T10:00:00Z", "capabilities": None,
    "repos": ["github.com/acme/*"], "createdAt": "2026-12-01T09:00:00Z",
}  # fmt: skip


def respond(request: ReceivedRequest) -> FakeResponse:
    if request.path == "/api/agents":
        agent = {"id": request.body["agentId"], "capabilities": ["explain"]}
        return FakeResponse(201, {"success": True, "agent": agent, "token": "agent-token"})
    if request.method == "POST":
        return FakeResponse(201, {"registrationToken": DESCRIBED, "token": TOKEN})
    return FakeResponse(200, {"data": [DESCRIBED], "success": True})


def test_registration_tokens_are_created_listed_and_removed(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(respond)
    options = ("--uses", "3", "--minutes", "60", "--repos", "github.com/acme/*", "--capability", "explain")
    created = devflow("agent", "registration-token", "create", *options)
    assert created.status == 0
    assert "3 agents until 2026-12-01T10:00:00Z" in created.out
    assert f"devflow agent register --url {platform.url} --registration-token-stdin" in created.out
    assert created.out.splitlines()[-1] == TOKEN, "no line of text ends with it, so that it is easy to copy"
    (request,) = platform.requests
    assert request.body == {
        "uses": 3, "expiresInSeconds": 3_600, "capabilities": ["explain"], "repos": ["github.com/acme/*"],
    }  # fmt: skip
    assert request.headers["Idempotency-Key"]
    assert devflow("agent", "registration-token", "create", "--json").json["token"] == TOKEN
    assert platform.requests[-1].body == {"uses": 1, "expiresInSeconds": 3_600}

    listed = devflow("agent", "registration-token", "list")
    assert (listed.status, "token-1\t1\t3" in listed.out) == (0, True)
    assert TOKEN not in listed.out
    assert devflow("agent", "registration-token", "remove", "token-1").status == 0
    assert platform.paths()[-2:] == [
        "GET /api/agents/registration-tokens?limit=20", "DELETE /api/agents/registration-tokens/token-1",
    ]  # fmt: skip
    assert devflow("agent", "registration-token", "remove", "../x").status == 2
    assert devflow("agent", "registration-token", "create", "--uses", "0").status == 2
    assert devflow("agent", "registration-token", "create", "--minutes", "43201").status == 2


@pytest.mark.parametrize("source", ["stdin", "variable"])
def test_machine_without_a_login_registers_its_agent(
    devflow: Callable[..., CommandResult],
    start_platform: Callable[..., FakePlatform],
    monkeypatch: pytest.MonkeyPatch,
    machine: Path,
    source: str,
) -> None:
    platform = start_platform(respond)
    flags = ["--registration-token-stdin"] if source == "stdin" else []
    if source == "stdin":
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    else:
        monkeypatch.setenv("DEVFLOW_REGISTRATION_TOKEN", f"{TOKEN}\n")

    result = devflow("agent", "register", "--url", platform.url, "--name", "build-1", *flags)

    assert result.status == 0, result.err
    (request,) = platform.requests
    assert request.token == TOKEN
    assert "capabilities" not in request.body, "the agent gets what the token permits"
    registration = AgentState(settings.state_path(), "build-1").load_registration()
    assert (registration.token, registration.capabilities) == ("agent-token", ("explain",))
    files = [file.read_text(encoding="utf-8") for file in machine.rglob("*") if file.is_file()]
    assert any("agent-token" in text for text in files)
    assert not any(TOKEN in text for text in files)
    assert TOKEN not in result.out + result.err


def test_registration_token_takes_precedence_over_a_login(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = logged_in(respond)
    monkeypatch.setenv("DEVFLOW_REGISTRATION_TOKEN", TOKEN)
    assert devflow("agent", "register", "--name", "build-1", "--capability", "explain").status == 0
    assert (platform.requests[0].token, platform.requests[0].body["capabilities"]) == (TOKEN, ["explain"])
    assert devflow("agent", "register", "--name", "build-1", "--replace").status == 2
    assert len(platform.requests) == 1


def test_registration_needs_a_token(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = start_platform(lambda _: make_error(401))
    assert devflow("agent", "register", "--url", platform.url).status == 4
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    empty = devflow("agent", "register", "--url", platform.url, "--registration-token-stdin")
    assert (empty.status, "standard input" in empty.err) == (2, True)
    assert platform.requests == []
    monkeypatch.setenv("DEVFLOW_REGISTRATION_TOKEN", TOKEN)
    rejected = devflow("agent", "register", "--url", platform.url)
    assert rejected.status == 4
    assert TOKEN not in rejected.err
