"""A receiver of webhooks over real HTTP on loopback. It records requests, and its responses are scripted.

with Receiver() as receiver:
    receiver.respond_next(status(500), truncated, status(200))      # the first three; afterwards 204
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

KB = 1_024


@dataclass(frozen=True)
class ReceivedRequest:
    """One request that the receiver got."""

    path: str
    headers: dict[str, str]
    """The names are in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> str:
        return str(self.json()["event"])


Responder = Callable[["_Handler"], None]


def status(code: int, body: bytes = b"", **headers: str) -> Responder:
    """Responds with this status. The keyword `Retry_After="7"` sets the header `Retry-After`."""

    def respond(handler: "_Handler") -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def truncated(handler: "_Handler") -> None:
    """Sends less than its Content-Length and closes the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"half an ans")
    handler.wfile.flush()
    handler.close_connection = True


def disconnects(handler: "_Handler") -> None:
    """Closes the connection without a response."""
    handler.close_connection = True


def not_http(handler: "_Handler") -> None:
    """Sends text that is not HTTP."""
    handler.wfile.write(b"220 mail.example.com ESMTP\r\n")
    handler.close_connection = True


def endless(handler: "_Handler") -> None:
    """Sends a body that never ends."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 64 * KB)


def trickles(handler: "_Handler") -> None:
    """Sends a header one byte at a time, without an end."""
    handler.close_connection = True
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not handler.server.receiver.closing.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()


def hangs(handler: "_Handler") -> None:
    """Reads the request and does not respond until the receiver is released or closed."""
    receiver = handler.server.receiver
    receiver.hanging.release()
    receiver.released.wait()
    handler.close_connection = True
    with suppress(OSError):
        status(204)(handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        respond = self.server.receiver.record(ReceivedRequest(self.path, headers, body))
        respond(self)

    def log_message(self, *_: Any) -> None:
        """Log nothing: the output belongs to the tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    receiver: "Receiver"

    def handle_error(self, *_: Any) -> None:
        """Ignore errors: a sender may close the connection early."""


class Receiver:
    """Listens on a free port of loopback. The port stays the same when the receiver is stopped and started again."""

    def __init__(self, *, host: str = "localhost", certificate: Path | None = None) -> None:
        self.received: list[ReceivedRequest] = []
        self.connections = 0
        self.default_responder: Responder = status(204)
        self.choose_responder: Callable[[ReceivedRequest], Responder] | None = None
        """Chooses a responder by the request, instead of the default responder."""
        self.closing, self.released = threading.Event(), threading.Event()
        self.hanging = threading.Semaphore(0)
        """Counts the requests that wait for their response."""
        self._host, self._certificate = host, certificate
        self._next: list[Responder] = []
        self._changed = threading.Condition()
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{self._host}:{self._port}/hooks?from=devflow"

    @property
    def port(self) -> int:
        return self._port

    def respond_next(self, *responders: Responder) -> None:
        """Use these responders for the next requests, in order."""
        self._next += responders

    def record(self, request: ReceivedRequest) -> Responder:
        """Record a request and choose its responder."""
        with self._changed:
            self.received.append(request)
            self._changed.notify_all()
            if self._next:
                return self._next.pop(0)
            return self.default_responder if self.choose_responder is None else self.choose_responder(request)

    def wait(self, count: int, *, timeout: float = 60) -> list[ReceivedRequest]:
        """Wait until at least `count` requests have arrived, and return all of them."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.received) >= count, timeout)
            assert arrived, f"{len(self.received)} of {count} requests arrived"
            return list(self.received)

    def start(self) -> None:
        receiver = self

        class Server(_Server):
            def get_request(self) -> Any:
                accepted = super().get_request()
                receiver.connections += 1
                return accepted

        server = Server(("127.0.0.1", self._port), _Handler)
        server.receiver = self
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._port = server.server_port
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.released.set()
        self.stop()


@contextmanager
def in_background(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run a call in another thread during the block, and wait for it at the end. Yields a list for its result.

    Raises the error of the call.
    """
    results: list[Any] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as failure:  # noqa: BLE001  # raised below
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(60)
    assert not thread.is_alive(), "the call did not return within 60 s"
    if failures:
        raise failures[0]


@contextmanager
def forbidden_listener(host: str) -> Iterator[tuple[int, list[str]]]:
    """Listen at an address of this machine that must get no connections. Yields its port, and a list of the clients
    that have connected by the end of the block."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    clients: list[str] = []
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        server.settimeout(0)

        def accept_all() -> None:
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                connection.close()
                clients.append(str(peer))

        yield server.getsockname()[1], clients
        time.sleep(0)  # connections over loopback are already in the queue
        accept_all()
