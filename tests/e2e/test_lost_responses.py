"""The reference agent over a network that loses the first response to every request."""

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
    """Forwards requests, and drops the response to each new one. The second completion gets a 429 response."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.target = urlsplit(url).netloc
        self.seen: dict[tuple[str, str, bytes], int] = {}

    def count(self, request: tuple[str, str, bytes]) -> int:
        """Count a request. Returns how many times it has been sent."""
        self.seen[request] = self.seen.get(request, 0) + 1
        return self.seen[request]


class RelayHandler(BaseHTTPRequestHandler):
    server: Relay

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_heartbeat = self.path.endswith("/heartbeat")  # its body always differs, because it contains the uptime
        count = self.server.count((self.command, self.path, b"" if is_heartbeat else body))
        if count == 2 and self.path.endswith("/complete"):
            self.respond(429, [("Retry-After", "1")], b"{}")
            return
        connection = http.client.HTTPConnection(self.server.target, timeout=20)
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        connection.request(self.command, self.path, body or None, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if count == 1:
            self.close_connection = True
        else:
            self.respond(response.status, [("Content-Type", "application/json")], content)

    do_GET = do_POST = relay  # noqa: N815  # named by http.server

    def respond(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Log nothing."""


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
        response = user.post("/api/workflows/execute", body)
        assert (response.status, response.json()) == (202, {"accepted": True, "taskId": task})

    with relay(platform.url) as server:
        done = subprocess.run(
            [sys.executable, AGENT, "--url", f"http://127.0.0.1:{server.server_port}", "--once",
             "--agent-id", intent, "--capability", intent],
            env=os.environ | {"DEVFLOW_TOKEN": str(user.token)},
            capture_output=True, text=True, timeout=45, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    reports = {(path.rpartition("/")[2], count) for (_, path, _), count in server.seen.items()}
    assert {("agents", 2), ("progress", 2), ("complete", 3)} <= reports, "each is sent until it gets a response"
    ended = user.get(f"/api/tasks/{task}").json()
    assert (ended["status"], ended["agentId"], ended["attempt"]) == ("completed", intent, 1)
    events = [(event["status"], event["detail"]) for event in user.get(f"/api/tasks/{task}/events").json()["data"]]
    assert events[:3] == [("pending", None), ("queued", None), ("assigned", None)]
    steps = ["Starting", "Reading the code", "Making the change", "Running tests"]
    assert events[3:-1] == [("in_progress", step) for step in steps]
    assert events[-1][0] == "completed"
