"""A network between an agent and a platform, which can hold a request or lose all of them."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60


class RelayedRequest(NamedTuple):
    """A request of an agent."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def action(self) -> str:
        """The last segment of the path: `heartbeat`, `progress` ..."""
        return self.path.partition("?")[0].rpartition("/")[2]

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.content)) if self.content else {}


class NetworkRelay(ThreadingHTTPServer):
    """Listens on loopback. A request that is held, or that arrives while the network is cut, never gets a response."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cut = False
        self.requests: list[RelayedRequest] = []
        """The forwarded requests."""
        self._target = urlsplit(url).netloc
        self._hold: Callable[[RelayedRequest], bool] = lambda _call: False
        self._held: queue.SimpleQueue[RelayedRequest] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def hold(self, matches: Callable[[RelayedRequest], bool]) -> None:
        """Hold every request that matches, until `stop_holding`."""
        self._hold = matches

    def wait_for_held(self) -> RelayedRequest:
        """Wait until a request is held."""
        return self._held.get(timeout=SECONDS)

    def stop_holding(self) -> None:
        """Forward all requests again. Held requests stay lost."""
        self._hold = lambda _call: False

    def forward(self, request: RelayedRequest) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=SECONDS)
        try:
            connection.request(request.method, request.path, request.content or None, request.headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def withholds(self, request: RelayedRequest) -> bool:
        if self.cut:
            return True
        if self._hold(request):
            self._held.put(request)
            self._ended.wait()
            return True
        self.requests.append(request)
        return False

    def end(self) -> None:
        self._ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: NetworkRelay

    def relay(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        request = RelayedRequest(self.command, self.path, headers, content)
        if self.server.withholds(request):
            return
        try:
            status, response_content = self.server.forward(request)
        except OSError:  # the platform is not running
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(response_content)))
        self.end_headers()
        self.wfile.write(response_content)

    do_GET = do_POST = do_PATCH = do_DELETE = relay  # noqa: N815  # named by http.server

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            """The agent was killed while it waited for the response."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Log nothing."""
