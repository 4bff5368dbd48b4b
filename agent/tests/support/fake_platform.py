"""A fake platform for unit tests: real HTTP on loopback, with the responses of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]
SECONDS = 30


class ReceivedRequest(NamedTuple):
    """A request that the fake received."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


class FakeResponse(NamedTuple):
    """A response: JSON, or raw bytes."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012  # never modified


def make_error(status: int, title: str = "Conflict", message: str = "no", **more: Any) -> FakeResponse:
    """Return an error with the fields of docs/protocol.md, "Errors"."""
    body = {"error": title, "message": message, "statusCode": status, "timestamp": "2025-01-24T00:00:00Z"}
    return FakeResponse(status, body | more, {"X-Request-Id": "request-1"})


class FakePlatform:
    """Responds with `respond(request)` and records the requests."""

    def __init__(self, respond: Callable[[ReceivedRequest], FakeResponse], port: int = 0) -> None:
        self.respond = respond
        self.requests: list[ReceivedRequest] = []
        self._received = threading.Condition()
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65_536
            disable_nagle_algorithm = True

            def handle_request(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = ReceivedRequest(
                    self.command, self.path, dict(self.headers), json.loads(content) if content else None
                )
                response = platform.record(request)
                body = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
                self.send_response(response.status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_request  # noqa: N815  # named by http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def record(self, request: ReceivedRequest) -> FakeResponse:
        response = self.respond(request)
        with self._received:
            self.requests.append(request)
            self._received.notify_all()
        return response

    def paths(self) -> list[str]:
        """Return method and path of each request: `POST /api/…`."""
        return [f"{request.method} {request.path}" for request in list(self.requests)]

    def bodies(self, ending: str) -> list[Any]:
        """Return the bodies of the requests whose paths have this ending."""
        return [request.body for request in list(self.requests) if request.path.endswith(ending)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the requests meet a condition."""
        with self._received:
            assert self._received.wait_for(condition, SECONDS), self.paths()

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
