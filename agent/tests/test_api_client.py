"""ApiClient: requests, retries and errors."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import stamina

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import __version__
from devflow.api_client import ApiClient, validate_url
from devflow.errors import NotLoggedInError, RequestRejectedError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest


@pytest.fixture(autouse=True)
def no_retry_delays() -> Iterator[None]:
    """Retry without delays."""
    with stamina.set_testing(True, attempts=4):  # the name of stamina's parameter
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_request_has_token_body_and_user_agent(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: FakeResponse(201, {"success": True}))

    response = ApiClient(platform.url + "/", "token-1").send("POST", "/api/agents", {"a": "ü"}, Idempotency_Key="key-1")

    assert response == {"success": True}
    (request,) = platform.requests
    assert (request.method, request.path, request.body, request.token) == ("POST", "/api/agents", {"a": "ü"}, "token-1")
    assert request.headers["Idempotency-Key"] == "key-1"
    assert request.headers["User-Agent"] == f"devflow/{__version__}"


def test_url_of_the_platform_may_have_a_path(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: FakeResponse(200, {}))

    ApiClient(f"{platform.url}/api").send("GET", "/api/agents")

    assert platform.paths() == ["GET /api/api/agents"]


@pytest.mark.parametrize(
    "url", ["devflow.example.com", "ftp://a", "https://", "https://a?b=c", "https://u:p@a.example"]
)
def test_invalid_platform_url_is_rejected(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        validate_url(url)
    assert "u:p" not in str(raised.value)


def test_rejection_has_the_fields_of_the_response(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(
        lambda _: make_error(400, "Missing required fields", "two are missing", details=["a", "b"])
    )

    with pytest.raises(RequestRejectedError) as raised:
        ApiClient(platform.url).send_with_retries("POST", "/api/agents", {})

    error = raised.value
    assert (error.status, error.details, error.request_id) == (400, ("a", "b"), "request-1")
    assert str(error) == "Missing required fields: two are missing (a; b)"
    assert len(platform.requests) == 1, "an invalid request is not retried"


def test_rejected_token_raises_an_error_without_the_token(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: make_error(401, "Invalid or expired token"))

    with pytest.raises(NotLoggedInError) as raised:
        ApiClient(platform.url, "secret-token").send_with_retries("GET", "/api/tasks")

    assert str(raised.value) == "Invalid or expired token: no"
    assert (raised.value.exit_code, len(platform.requests)) == (4, 1)


@pytest.mark.parametrize(
    "error", [make_error(503, "Temporarily unavailable"), FakeResponse(502, b"<html>"), make_error(429)]
)
def test_request_is_retried_while_the_platform_is_unavailable(
    start_platform: Callable[..., FakePlatform], error: FakeResponse
) -> None:
    responses = iter([error, error, FakeResponse(200, {"data": []})])
    platform = start_platform(lambda _: next(responses))

    assert ApiClient(platform.url).send_with_retries("GET", "/api/tasks") == {"data": []}
    assert len(platform.requests) == 3


def test_outage_that_does_not_end_raises_an_error(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: FakeResponse(503, {"error": "Temporarily unavailable", "message": "come back"}))

    with pytest.raises(UnavailableError, match="is unavailable: come back"):
        ApiClient(platform.url).send_with_retries("GET", "/api/tasks")
    assert len(platform.requests) == 4


def test_long_retry_after_raises_an_error_at_once(start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: FakeResponse(429, {"error": "Too many requests"}, {"Retry-After": "900"}))

    with pytest.raises(UnavailableError) as raised:
        ApiClient(platform.url).send_with_retries("POST", "/api/auth/pin/login", {})
    assert (raised.value.retry_after, len(platform.requests)) == (900.0, 1)


@pytest.mark.parametrize(
    "response",
    [FakeResponse(200, b"<html>"), FakeResponse(404, b"<html>"), FakeResponse(301, b""), FakeResponse(404, {})],
)
def test_response_of_another_program_is_recognized_and_not_retried(
    start_platform: Callable[..., FakePlatform], response: FakeResponse
) -> None:
    platform = start_platform(lambda _: response)

    with pytest.raises(UnavailableError, match="Check the URL") as raised:
        ApiClient(platform.url, "secret-token").send_with_retries("GET", "/api/tasks")
    assert raised.value.not_devflow
    assert len(platform.requests) == 1


def test_redirect_is_not_followed_so_no_token_goes_elsewhere(start_platform: Callable[..., FakePlatform]) -> None:
    other = start_platform(lambda _: FakeResponse(200, {}))
    platform = start_platform(lambda _: FakeResponse(302, {}, {"Location": f"{other.url}/"}))

    with pytest.raises(UnavailableError):
        ApiClient(platform.url, "secret-token").send_with_retries("GET", "/api/tasks")
    assert other.requests == []


def test_unreachable_platform_raises_a_readable_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(UnavailableError) as raised:
        ApiClient(url).send("GET", "/health")
    assert str(raised.value) == f"{url} cannot be reached: Failed to establish a new connection: Connection refused"


def test_token_renewed_during_a_request_is_used_at_once(start_platform: Callable[..., FakePlatform]) -> None:
    tokens = iter(["old", "new", "new"])
    platform = start_platform(lambda request: FakeResponse(200, {}) if request.token == "new" else make_error(401))

    assert ApiClient(platform.url, lambda: next(tokens)).send("GET", "/api/tasks") == {}
    assert [request.token for request in platform.requests] == ["old", "new"]


def test_response_counts_from_the_time_the_request_was_sent(start_platform: Callable[..., FakePlatform]) -> None:
    clock = FakeClock()
    response_times: list[float] = []
    responses = iter(
        [FakeResponse(200, {}), make_error(409), make_error(401), FakeResponse(503, {}), FakeResponse(200, b"<html>")]
    )

    def respond(_: ReceivedRequest) -> FakeResponse:
        clock.time += 5
        return next(responses)

    client = ApiClient(start_platform(respond).url, "token", on_response=response_times.append, clock=clock)
    for expected in (None, RequestRejectedError, NotLoggedInError, UnavailableError, UnavailableError):
        if expected is None:
            client.send("GET", "/api/tasks")
        else:
            with pytest.raises(expected):
                client.send("GET", "/api/tasks")

    assert response_times == [1000.0, 1005.0], "other responses do not show that the platform accepts this agent"


def test_proxy_of_the_environment_is_used(
    start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start_platform(lambda _: FakeResponse(200, {"by": "proxy"}))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert ApiClient("http://devflow.invalid").send("GET", "/health") == {"by": "proxy"}
    assert proxy.paths() == ["GET http://devflow.invalid/health"]

    direct = start_platform(lambda _: FakeResponse(200, {"by": "itself"}))
    assert ApiClient(direct.url).send("GET", "/health") == {"by": "itself"}
