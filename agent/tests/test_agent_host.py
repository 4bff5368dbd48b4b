"""AgentHost: starts workflows on loopback for the agent's user, and rejects everything else."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.agent_host import EXECUTE_PATH, MAX_BODY_BYTES, AgentHost, HostConfig
from devflow.engines import Engine
from devflow.errors import SettingsError, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

TASK = {
    "taskId": "task-1",
    "intent": "fix-bug",
    "repo": "https://github.com/user/repo",
    "branch": "main",
    "naturalLanguage": "Fix the null pointer exception in login flow",
}


def respond(request: ReceivedRequest) -> FakeResponse:
    """Accept the tokens of the agent and of its user. Another user's token does not see the agent."""
    if request.token not in ("agent-token", "user-token", "stranger"):
        return make_error(401, "Invalid or expired token")
    if request.method == "GET":
        return FakeResponse(200, {}) if request.token == "user-token" else make_error(404, "Agent not actual_status")
    return FakeResponse(202, {"accepted": True, "taskId": request.body["taskId"]})


class Scenario:
    """An agent host and its platform."""

    def __init__(self, platform: FakePlatform) -> None:
        self.platform, self.polls_requested, self.engine_error = platform, 0, ""
        engine = Engine("copilot", ["copilot"], check=self._check)
        self.requests_before_wait: list[list[str]] = []
        config = HostConfig(
            "build-1", platform.url, lambda: "agent-token", engine, self._poll_now, ("fix-bug",), self._wait
        )
        self.host = AgentHost(config, 0)
        self.host.start()

    def _check(self) -> None:
        if self.engine_error:
            raise TaskFailedError(self.engine_error)

    def _wait(self, seconds: float) -> None:
        assert 0 < seconds < 15
        self.requests_before_wait.append(self.platform.paths())

    def _poll_now(self) -> None:
        self.polls_requested += 1

    def request(
        self,
        body: Any = TASK,
        method: str = "POST",
        path: str = EXECUTE_PATH,
        token: str | None = "agent-token",  # noqa: S107  # a token of the fake platform
        **headers: str,
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=30)
        all_headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, all_headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        finally:
            connection.close()


@pytest.fixture
def scenario(start_platform: Callable[..., FakePlatform]) -> Iterator[Scenario]:
    scenario = Scenario(start_platform(respond))
    yield scenario
    scenario.host.stop()


@pytest.mark.parametrize("token", ["agent-token", "user-token"])
def test_workflow_is_submitted_for_this_agent_and_polled_at_once(scenario: Scenario, token: str) -> None:
    assert scenario.request(token=token) == (202, {"accepted": True, "taskId": "task-1"})

    submitted = scenario.platform.requests[-1]
    assert (submitted.method, submitted.path, submitted.token) == ("POST", EXECUTE_PATH, token)
    assert submitted.body == TASK | {"agentId": "build-1"}
    assert scenario.polls_requested == 1


def test_workflow_is_submitted_after_the_first_heartbeat_of_the_agent(scenario: Scenario) -> None:
    """The platform refuses tasks that are pinned to an agent without the intent. A heartbeat reports the intents."""
    assert scenario.request()[0] == 202
    assert scenario.requests_before_wait == [[]]
    assert scenario.platform.paths() == [f"POST {EXECUTE_PATH}"]


def test_missing_fields_are_listed_as_in_the_specification(scenario: Scenario) -> None:
    status, body = scenario.request({"branch": "main", "intent": " "})

    assert (status, body["error"], body["statusCode"]) == (400, "Missing required fields", 400)
    assert body["details"] == ["taskId", "intent", "repo", "naturalLanguage"]
    assert set(body) == {"error", "message", "statusCode", "timestamp", "details"}
    assert scenario.platform.requests == []


def test_failing_engine_check_returns_500_and_submits_nothing(scenario: Scenario) -> None:
    scenario.engine_error = "Copilot SDK connection failed"

    status, body = scenario.request()

    assert (status, body["error"], body["message"]) == (
        500, "Failed to execute workflow", "Copilot SDK connection failed",
    )  # fmt: skip
    assert (scenario.platform.requests, scenario.polls_requested) == ([], 0)


@pytest.mark.parametrize("token", [None, "nonsense", "stranger"])
def test_request_without_a_valid_token_of_the_user_is_rejected_first(scenario: Scenario, token: str | None) -> None:
    scenario.engine_error = "Copilot SDK connection failed"

    status, body = scenario.request({}, token=token)

    assert status == (403 if token == "stranger" else 401)
    assert "Copilot" not in body["message"]
    assert not [path for path in scenario.platform.paths() if path.startswith("POST")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3001", "localhost", "127.0.0.1:1", "localhost.evil:1", ""]
)
def test_request_with_another_host_name_is_rejected_first(scenario: Scenario, host: str) -> None:
    for method, path in (("POST", EXECUTE_PATH), ("GET", "/health")):
        assert scenario.request(method=method, path=path, Host=host)[0] == 403
    assert scenario.platform.requests == []


def test_localhost_and_127_0_0_1_are_accepted_host_names(scenario: Scenario) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        assert scenario.request(method="GET", path="/health", Host=f"{name}:{scenario.host.port}")[0] == 200


def test_request_from_a_web_page_is_rejected(scenario: Scenario) -> None:
    assert scenario.request(Origin="https://evil.example")[0] == 403
    assert scenario.request(Origin=f"http://localhost:{scenario.host.port}")[0] == 403
    assert scenario.request(method="OPTIONS", Origin="https://evil.example")[0] == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"path": "/api/agents"}, 404),
        ({"method": "PUT"}, 405),
        ({"body": b"{"}, 400),
        ({"body": b"[" * 100_000}, 400),
        ({"body": []}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"body": b" " * (MAX_BODY_BYTES + 1)}, 413),
        ({"body": TASK | {"intent": "feature"}}, 400),
    ],
)
def test_invalid_request_returns_an_error_with_the_documented_fields(
    scenario: Scenario, body: Any, status: int
) -> None:
    actual_status, body = scenario.request(**body)

    assert (actual_status, body["statusCode"]) == (status, status)
    assert {"error", "message", "timestamp"} <= set(body)
    assert scenario.platform.requests == []


@pytest.mark.parametrize("status", [400, 409, 429, 503])
def test_error_of_the_platform_is_forwarded(scenario: Scenario, status: int) -> None:
    scenario.platform.respond = lambda _: make_error(status, "Conflict", "The id is taken.", details=["taskId"])

    actual_status, body = scenario.request()

    if status in (429, 503):
        assert (actual_status, body["error"]) == (500, "Failed to execute workflow")
    else:
        assert (actual_status, body["error"], body["message"], body["details"]) == (
            status, "Conflict", "The id is taken.", ["taskId"],
        )  # fmt: skip
    assert scenario.polls_requested == 0


def test_host_listens_on_loopback_only_and_reports_a_port_in_use(scenario: Scenario) -> None:
    assert scenario.host._server.server_address[0] == "127.0.0.1"
    with pytest.raises(SettingsError, match="cannot listen on port"):
        AgentHost(scenario.host._server.config, scenario.host.port)


def test_incomplete_request_does_not_block_other_requests(scenario: Scenario) -> None:
    with socket.create_connection(("127.0.0.1", scenario.host.port)) as slow:
        slow.sendall(b"POST /api/workflows/execute HTTP/1.1\r\nHost: loc")
        assert scenario.request()[0] == 202


def test_connections_are_limited_and_the_limit_recovers(scenario: Scenario) -> None:
    with ExitStack() as cleanup:
        address = ("127.0.0.1", scenario.host.port)
        idle = [cleanup.enter_context(socket.create_connection(address, 30)) for _ in range(40)]
        closed, _, _ = select.select(idle, [], [], 10)
        assert closed
        assert closed[0].recv(1) == b""
        with pytest.raises((OSError, http.client.HTTPException)):
            scenario.request()
    end = time.monotonic() + 10
    while True:
        try:
            assert scenario.request()[0] == 202
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return
