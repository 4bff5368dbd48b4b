"""The reference agent over a network that loses the answer to everything that it says for the first time."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Platform

AGENT = Path(__file__).parents[2] / "examples" / "agent.py"


class Relay(ThreadingHTTPServer):
    """Passes requests on. Of each new one the answer is lost; a completion is once more put off with a 429."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), RelayedCall)
        self.target = urlsplit(url).netloc
        self.seen: dict[tuple[str, str, bytes], int] = {}

    def times(self, request: tuple[str, str, bytes]) -> int:
        self.seen[request] = self.seen.get(request, 0) + 1
        return self.seen[request]


class RelayedCall(BaseHTTPRequestHandler):
    server: Relay

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        beat = self.path.endswith("/heartbeat")  # never the same twice, for it tells the time since the start
        times = self.server.times((self.command, self.path, b"" if beat else body))
        if times == 2 and self.path.endswith("/complete"):
            self.answer(429, [("Retry-After", "1")], b"{}")
            return
        connection = http.client.HTTPConnection(self.server.target, timeout=20)
        kept = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        connection.request(self.command, self.path, body or None, kept)
        got = connection.getresponse()
        content = got.read()
        connection.close()
        if times == 1:
            self.close_connection = True
        else:
            self.answer(got.status, [("Content-Type", "application/json")], content)

    do_GET = do_POST = relay  # noqa: N815  # named by http.server

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Nothing: the test says what matters."""


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    with Relay(url) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_agent_completes_its_task_once_if_every_response_is_lost_once(platform: Platform) -> None:
    user = platform.client.login()
    intent, task = f"lost-{uuid.uuid4()}", f"task-{uuid.uuid4()}"
    body = {"taskId": task, "intent": intent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    for _ in range(2):
        answer = user.post("/api/workflows/execute", body)
        assert (answer.status, answer.json()) == (202, {"accepted": True, "taskId": task})

    with relay(platform.url) as between:
        done = subprocess.run(
            [sys.executable, AGENT, "--url", f"http://127.0.0.1:{between.server_port}", "--once",
             "--agent-id", intent, "--capability", intent],
            env=os.environ | {"DEVFLOW_TOKEN": str(user.token)},
            capture_output=True, text=True, timeout=45, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    reports = {(path.rpartition("/")[2], times) for (_, path, _), times in between.seen.items()}
    assert {("agents", 2), ("progress", 2), ("complete", 3)} <= reports, "each was sent until it was answered"
    ended = user.get(f"/api/tasks/{task}").json()
    assert (ended["status"], ended["agentId"], ended["attempt"]) == ("completed", intent, 1)
    events = [(event["status"], event["detail"]) for event in user.get(f"/api/tasks/{task}/events").json()["data"]]
    assert events[:3] == [("pending", None), ("queued", None), ("assigned", None)]
    steps = ["Starting", "Reading the code", "Making the change", "Running tests"]
    assert events[3:-1] == [("in_progress", step) for step in steps]
    assert events[-1][0] == "completed"
