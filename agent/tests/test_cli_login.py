"""`devflow login` and `devflow logout`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


USER = {"id": "user-1", "email": "user@example.com", "name": "John Doe"}


def check_pin(request: ReceivedRequest) -> FakeResponse:
    if request.body == {"email": "user@example.com", "pin": "123456"}:
        return FakeResponse(200, {"success": True, "token": "new-token", "user": USER})
    return make_error(401, "Invalid email or PIN")


def test_magic_link_and_token_stdin_exclude_each_other(devflow: Callable[..., CommandResult]) -> None:
    assert devflow("login", "--magic-link", "--token-stdin").status == 2


def test_login_with_a_pin_stores_the_token_for_later_commands(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = start_platform(check_pin)
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
    assert devflow("logout").status == 0, "there is no session to end"
    assert devflow("tasks").status == 4


@pytest.mark.parametrize(
    ("response", "note"), [(make_error(401), ""), (FakeResponse(503, {}), "the platform may still accept it")]
)
def test_logout_removes_the_token_even_if_the_platform_fails(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], response: FakeResponse, note: str
) -> None:
    platform = logged_in(lambda _: response)

    result = devflow("logout")

    assert (result.status, note in result.err) == (0, True)
    assert settings.load_config(settings.config_path()) == {"url": platform.url}


def test_login_with_a_link(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/verify"):
            return FakeResponse(200, {"success": True, "token": "new-token", "user": USER})
        return FakeResponse(202, {"success": True})

    platform = start_platform(respond)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{platform.url}/login/link#secret-of-the-link \n"))

    result = devflow("login", "--url", platform.url, "--email", "user@example.com", "--magic-link")

    assert (result.status, [request.body for request in platform.requests]) == (
        0, [{"email": "user@example.com"}, {"token": "secret-of-the-link"}],
    )  # fmt: skip
    assert settings.load_config(settings.config_path())["token"] == "new-token"


def test_link_of_another_address_does_not_log_in(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may send a user a link of their own account."""
    other = USER | {"email": "attacker@example.com"}
    platform = start_platform(lambda _: FakeResponse(200, {"success": True, "token": "new-token", "user": other}))
    monkeypatch.setattr("sys.stdin", io.StringIO("#secret-of-the-link\n"))

    result = devflow("login", "--url", platform.url, "--email", "user@example.com", "--magic-link")

    assert (result.status, "a link of attacker@example.com" in result.err) == (4, True)
    assert settings.load_config(settings.config_path()) == {}


def test_wrong_pin_exits_4_and_keeps_the_config_file(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = logged_in(check_pin)
    monkeypatch.setenv("DEVFLOW_PIN", "000000")

    result = devflow("login", "--email", "user@example.com")

    assert (result.status, result.err) == (4, "devflow: Invalid email or PIN: no\n")
    assert settings.load_config(settings.config_path()) == {"url": platform.url, "token": "user-token"}


def test_token_from_standard_input_is_checked_before_it_is_stored(
    devflow: Callable[..., CommandResult], start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = {
        "user-token-1": FakeResponse(200, {"user": USER}),
        "agent-token": make_error(403),
        "bad": make_error(401),
    }
    platform = start_platform(lambda request: responses[request.token])

    def log_in(text: str) -> CommandResult:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return devflow("login", "--url", platform.url, "--token-stdin", "--json")

    assert [log_in(text).status for text in ("", "bad\n", "agent-token\n")] == [2, 4, 4]
    assert settings.load_config(settings.config_path()) == {}
    result = log_in("user-token-1\n")
    assert (result.status, result.json) == (0, {"success": True, "url": platform.url, "user": USER})
    assert platform.paths()[-1] == "GET /api/auth/me"
    assert settings.load_config(settings.config_path())["token"] == "user-token-1"
