"""Calls to the platform: what is sent, what is sent again, and what errors say."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import stamina

from agent.tests.support.clocks import Jumping
from agent.tests.support.standin import Answer, refusal
from devflow import __version__
from devflow.client import Client, checked_url
from devflow.errors import NotLoggedInError, RefusedError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.tests.support.standin import Platform, Request


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Retries without their pauses."""
    with stamina.set_testing(True, attempts=4):  # named by stamina
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_call_has_its_token_its_body_and_says_who_calls(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: Answer(201, {"success": True}))

    answer = Client(platform.url + "/", "token-1").send("POST", "/api/agents", {"a": "ü"}, Idempotency_Key="key-1")

    assert answer == {"success": True}
    (request,) = platform.requests
    assert (request.method, request.path, request.body, request.token) == ("POST", "/api/agents", {"a": "ü"}, "token-1")
    assert request.headers["Idempotency-Key"] == "key-1"
    assert request.headers["User-Agent"] == f"devflow/{__version__}"


def test_an_address_may_have_a_path_of_its_own(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: Answer(200, {}))

    Client(f"{platform.url}/api").send("GET", "/api/agents")

    assert platform.paths() == ["GET /api/api/agents"]


@pytest.mark.parametrize(
    "url", ["devflow.example.com", "ftp://a", "https://", "https://a?b=c", "https://u:p@a.example"]
)
def test_what_is_no_address_of_a_platform_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        checked_url(url)
    assert "u:p" not in str(raised.value)


def test_a_refusal_has_what_the_platform_said(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: refusal(400, "Missing required fields", "two are missing", details=["a", "b"]))

    with pytest.raises(RefusedError) as raised:
        Client(platform.url).ask("POST", "/api/agents", {})

    error = raised.value
    assert (error.status, error.details, error.request_id) == (400, ("a", "b"), "request-1")
    assert str(error) == "Missing required fields: two are missing (a; b)"
    assert len(platform.requests) == 1, "what cannot be meant is not sent again"


def test_a_token_that_is_not_accepted_is_said_so_without_the_token(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: refusal(401, "Invalid or expired token"))

    with pytest.raises(NotLoggedInError) as raised:
        Client(platform.url, "secret-token").ask("GET", "/api/tasks")

    assert str(raised.value) == "Invalid or expired token: no"
    assert (raised.value.exit_code, len(platform.requests)) == (4, 1)


@pytest.mark.parametrize("trouble", [refusal(503, "Temporarily unavailable"), Answer(502, b"<html>"), refusal(429)])
def test_what_may_be_over_in_a_moment_is_sent_again(standin: Callable[..., Platform], trouble: Answer) -> None:
    answers = iter([trouble, trouble, Answer(200, {"data": []})])
    platform = standin(lambda _: next(answers))

    assert Client(platform.url).ask("GET", "/api/tasks") == {"data": []}
    assert len(platform.requests) == 3


def test_what_does_not_end_is_said(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: Answer(503, {"error": "Temporarily unavailable", "message": "come back"}))

    with pytest.raises(UnavailableError, match="cannot answer now: come back"):
        Client(platform.url).ask("GET", "/api/tasks")
    assert len(platform.requests) == 4


def test_a_lock_of_a_quarter_of_an_hour_is_not_sat_out(standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: Answer(429, {"error": "Too many requests"}, {"Retry-After": "900"}))

    with pytest.raises(UnavailableError) as raised:
        Client(platform.url).ask("POST", "/api/auth/pin/login", {})
    assert (raised.value.retry_after, len(platform.requests)) == (900.0, 1)


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(404, b"<html>"), Answer(301, b""), Answer(404, {})])
def test_what_is_no_platform_is_told_apart_and_not_asked_again(
    standin: Callable[..., Platform], answer: Answer
) -> None:
    platform = standin(lambda _: answer)

    with pytest.raises(UnavailableError, match="is the address right") as raised:
        Client(platform.url, "secret-token").ask("GET", "/api/tasks")
    assert raised.value.strange
    assert len(platform.requests) == 1


def test_a_redirect_is_not_followed_so_no_token_goes_elsewhere(standin: Callable[..., Platform]) -> None:
    other = standin(lambda _: Answer(200, {}))
    platform = standin(lambda _: Answer(302, {}, {"Location": f"{other.url}/"}))

    with pytest.raises(UnavailableError):
        Client(platform.url, "secret-token").ask("GET", "/api/tasks")
    assert other.requests == []


def test_a_platform_that_is_not_there_is_said_for_people() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(UnavailableError) as raised:
        Client(url).send("GET", "/health")
    assert str(raised.value) == f"{url} cannot be reached: Failed to establish a new connection: Connection refused"


def test_a_token_renewed_while_a_call_was_under_way_is_used_at_once(standin: Callable[..., Platform]) -> None:
    tokens = iter(["old", "new", "new"])
    platform = standin(lambda request: Answer(200, {}) if request.token == "new" else refusal(401))

    assert Client(platform.url, lambda: next(tokens)).send("GET", "/api/tasks") == {}
    assert [request.token for request in platform.requests] == ["old", "new"]


def test_an_answer_of_the_platform_is_heard_as_of_when_it_was_asked(standin: Callable[..., Platform]) -> None:
    clock = Jumping()
    heard: list[float] = []
    answers = iter([Answer(200, {}), refusal(409), refusal(401), Answer(503, {}), Answer(200, b"<html>")])

    def answer(_: Request) -> Answer:
        clock.time += 5
        return next(answers)

    client = Client(standin(answer).url, "token", heard=heard.append, clock=clock)
    for expected in (None, RefusedError, NotLoggedInError, UnavailableError, UnavailableError):
        if expected is None:
            client.send("GET", "/api/tasks")
        else:
            with pytest.raises(expected):
                client.send("GET", "/api/tasks")

    assert heard == [1000.0, 1005.0], "the others are no sign that the platform knows this agent"


def test_a_proxy_is_used_where_the_environment_names_one(
    standin: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = standin(lambda _: Answer(200, {"by": "proxy"}))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert Client("http://devflow.invalid").send("GET", "/health") == {"by": "proxy"}
    assert proxy.paths() == ["GET http://devflow.invalid/health"]

    direct = standin(lambda _: Answer(200, {"by": "itself"}))
    assert Client(direct.url).send("GET", "/health") == {"by": "itself"}
