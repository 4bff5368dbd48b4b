"""All commands: usage, settings and their order, tokens, and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform


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


def test_error_before_a_command_is_found_is_json_too(devflow: Callable[..., CommandResult], machine: Path) -> None:
    settings.update_config(settings.config_path(), token="user-token")
    settings.config_path().chmod(0o644)
    result = devflow("tasks", "list", "--json")
    assert (result.status, result.out) == (2, "")
    assert json.loads(result.err)["exitCode"] == 2


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
    assert "The token is not valid" in result.err


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
    assert (result.status, "Check the URL" in result.err) == (1, True), result.err


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
