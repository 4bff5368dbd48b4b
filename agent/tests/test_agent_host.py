"""The agent host: the spec's workflow execution on loopback, for whom it is meant and for nobody else."""

from __future__ import annotations

import http.client
import json
import socket
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


def platform(request: ReceivedRequest) -> FakeResponse:
    """Knows the agent's token and one of its user; another user's sees nothing of the agent."""
    if request.token not in ("agent-token", "user-token", "stranger"):
        return make_error(401, "Invalid or expired token")
    if request.method == "GET":
        return FakeResponse(200, {}) if request.token == "user-token" else make_error(404, "Agent not found")
    return FakeResponse(202, {"accepted": True, "taskId": request.body["taskId"]})


class Scene:
    """A host, and the platform behind it."""

    def __init__(self, standin: FakePlatform) -> None:
        self.platform, self.hurried, self.trouble = standin, 0, ""
        engine = Engine("copilot", ["copilot"], check=self._check)
        self.host = AgentHost(
            HostConfig("build-1", standin.url, lambda: "agent-token", engine, self._hurry, ("fix-bug",)), 0
        )
        self.host.start()

    def _check(self) -> None:
        if self.trouble:
            raise TaskFailedError(self.trouble)

    def _hurry(self) -> None:
        self.hurried += 1

    def ask(
        self,
        body: Any = TASK,
        method: str = "POST",
        path: str = EXECUTE_PATH,
        token: str | None = "agent-token",  # noqa: S107  # of a stand-in
        **headers: str,
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=30)
        sent = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()


@pytest.fixture
def scene(standin: Callable[..., FakePlatform]) -> Iterator[Scene]:
    scene = Scene(standin(platform))
    yield scene
    scene.host.stop()


@pytest.mark.parametrize("token", ["agent-token", "user-token"])
def test_a_workflow_is_accepted_for_this_agent_alone_and_polled_for_at_once(scene: Scene, token: str) -> None:
    assert scene.ask(token=token) == (202, {"accepted": True, "taskId": "task-1"})

    submitted = scene.platform.requests[-1]
    assert (submitted.method, submitted.path, submitted.token) == ("POST", EXECUTE_PATH, token)
    assert submitted.body == TASK | {"agentId": "build-1"}
    assert scene.hurried == 1


def test_what_is_missing_is_named_as_the_spec_shows_it(scene: Scene) -> None:
    status, body = scene.ask({"branch": "main", "intent": " "})

    assert (status, body["error"], body["statusCode"]) == (400, "Missing required fields", 400)
    assert body["details"] == ["taskId", "intent", "repo", "naturalLanguage"]
    assert set(body) == {"error", "message", "statusCode", "timestamp", "details"}
    assert scene.platform.requests == []


def test_an_engine_that_cannot_work_is_500_with_its_reason_and_nothing_is_submitted(scene: Scene) -> None:
    scene.trouble = "Copilot SDK connection failed"

    status, body = scene.ask()

    assert (status, body["error"], body["message"]) == (
        500, "Failed to execute workflow", "Copilot SDK connection failed",
    )  # fmt: skip
    assert (scene.platform.requests, scene.hurried) == ([], 0)


@pytest.mark.parametrize("token", [None, "nonsense", "stranger"])
def test_without_a_token_of_its_user_nothing_is_even_tried(scene: Scene, token: str | None) -> None:
    scene.trouble = "Copilot SDK connection failed"

    status, body = scene.ask({}, token=token)

    assert status == (403 if token == "stranger" else 401)
    assert "Copilot" not in body["message"]
    assert not [path for path in scene.platform.paths() if path.startswith("POST")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3001", "localhost", "127.0.0.1:1", "localhost.evil:1", ""]
)
def test_a_name_that_is_not_its_own_is_refused_before_anything_else(scene: Scene, host: str) -> None:
    for method, path in (("POST", EXECUTE_PATH), ("GET", "/health")):
        assert scene.ask(method=method, path=path, Host=host)[0] == 403
    assert scene.platform.requests == []


def test_both_of_its_names_are_good(scene: Scene) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        assert scene.ask(method="GET", path="/health", Host=f"{name}:{scene.host.port}")[0] == 200


def test_a_page_in_a_browser_gets_nothing(scene: Scene) -> None:
    assert scene.ask(Origin="https://evil.example")[0] == 403
    assert scene.ask(Origin=f"http://localhost:{scene.host.port}")[0] == 403
    assert scene.ask(method="OPTIONS", Origin="https://evil.example")[0] == 403


@pytest.mark.parametrize(
    ("asked", "status"),
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
def test_what_cannot_be_meant_is_refused_in_the_contracts_shape(scene: Scene, asked: Any, status: int) -> None:
    found, body = scene.ask(**asked)

    assert (found, body["statusCode"]) == (status, status)
    assert {"error", "message", "timestamp"} <= set(body)
    assert scene.platform.requests == []


@pytest.mark.parametrize("status", [400, 409, 429, 503])
def test_what_the_platform_says_is_passed_on(scene: Scene, status: int) -> None:
    scene.platform.respond = lambda _: make_error(status, "Conflict", "The id is taken.", details=["taskId"])

    found, body = scene.ask()

    if status in (429, 503):
        assert (found, body["error"]) == (500, "Failed to execute workflow")
    else:
        assert (found, body["error"], body["message"], body["details"]) == (
            status, "Conflict", "The id is taken.", ["taskId"],
        )  # fmt: skip
    assert scene.hurried == 0


def test_it_listens_on_loopback_alone_and_says_when_it_cannot(scene: Scene) -> None:
    assert scene.host._server.server_address[0] == "127.0.0.1"
    with pytest.raises(SettingsError, match="cannot listen on port"):
        AgentHost(scene.host._server.config, scene.host.port)


def test_one_that_sends_half_a_request_holds_nobody_up(scene: Scene) -> None:
    with socket.create_connection(("127.0.0.1", scene.host.port)) as slow:
        slow.sendall(b"POST /api/workflows/execute HTTP/1.1\r\nHost: loc")
        assert scene.ask()[0] == 202
