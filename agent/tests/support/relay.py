"""A network between an agent and a platform: passes calls on, holds one of them, is cut and comes back."""

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
    """A request, as it came from an agent."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def action(self) -> str:
        """The last part of its address: `heartbeat`, `progress` ..."""
        return self.path.partition("?")[0].rpartition("/")[2]

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.content)) if self.content else {}


class NetworkRelay(ThreadingHTTPServer):
    """Listens on loopback. A call that it holds, or that comes while it is cut, never gets an answer."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cut = False
        self.requests: list[RelayedRequest] = []
        """Those that were passed on."""
        self._target = urlsplit(url).netloc
        self._hold: Callable[[RelayedRequest], bool] = lambda _call: False
        self._held: queue.SimpleQueue[RelayedRequest] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def hold(self, fits: Callable[[RelayedRequest], bool]) -> None:
        """Hold the next call that fits, and every later one until `free`."""
        self._hold = fits

    def wait_for_held(self) -> RelayedRequest:
        """Wait until a call is held."""
        return self._held.get(timeout=SECONDS)

    def stop_holding(self) -> None:
        """Hold nothing any more; what was held stays lost."""
        self._hold = lambda _call: False

    def pass_on(self, call: RelayedRequest) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=SECONDS)
        try:
            connection.request(call.method, call.path, call.content or None, call.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def withholds(self, call: RelayedRequest) -> bool:
        if self.cut:
            return True
        if self._hold(call):
            self._held.put(call)
            self._ended.wait()
            return True
        self.requests.append(call)
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
        kept = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
        call = RelayedRequest(self.command, self.path, kept, content)
        if self.server.withholds(call):
            return
        try:
            status, answer = self.server.pass_on(call)
        except OSError:  # the platform is not there
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = relay  # noqa: N815  # named by http.server

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            """The agent was killed while it waited."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Nothing: the test says what matters."""
