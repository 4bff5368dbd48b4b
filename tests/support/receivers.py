"""Receivers of webhooks, over real HTTP on loopback: what they got, and what they answer.

with Receiver() as receiver:
    receiver.then(status(500), cut, status(200))      # the first three; 204 from then on
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
class Got:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> str:
        return str(self.json()["event"])


Answer = Callable[["_Handler"], None]


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers with this status. A header's name is a keyword with underscores for dashes."""

    def answer(handler: "_Handler") -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def cut(handler: "_Handler") -> None:
    """Promises more than it sends, and ends the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"half an ans")
    handler.wfile.flush()
    handler.close_connection = True


def dead(handler: "_Handler") -> None:
    """Ends the connection without a word."""
    handler.close_connection = True


def no_http(handler: "_Handler") -> None:
    """Says what is not HTTP."""
    handler.wfile.write(b"220 mail.example.com ESMTP\r\n")
    handler.close_connection = True


def huge(handler: "_Handler") -> None:
    """Answers, and goes on for as long as anybody reads."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 64 * KB)


def drips(handler: "_Handler") -> None:
    """Sends a byte now and then, without an end."""
    handler.close_connection = True
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not handler.server.receiver.closing.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()


def hangs(handler: "_Handler") -> None:
    """Takes the request and says nothing, until it is let go or closed."""
    receiver = handler.server.receiver
    receiver.hanging.release()
    receiver.let_go.wait()
    handler.close_connection = True
    with suppress(OSError):
        status(204)(handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.take(Got(self.path, headers, body))
        answer(self)

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output to the tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    receiver: "Receiver"

    def handle_error(self, *_: Any) -> None:
        """A sender that hangs up is none of its troubles."""


class Receiver:
    """Listens on loopback, on a port of its own, which it keeps when it goes down and comes up again."""

    def __init__(self, *, host: str = "localhost", certificate: Path | None = None) -> None:
        self.got: list[Got] = []
        self.connections = 0
        self.usual: Answer = status(204)
        self.chooses: Callable[[Got], Answer] | None = None
        """Instead of the usual answer: one that depends on the request."""
        self.closing, self.let_go = threading.Event(), threading.Event()
        self.hanging = threading.Semaphore(0)
        """Counts the requests that hang."""
        self._host, self._certificate = host, certificate
        self._next: list[Answer] = []
        self._changed = threading.Condition()
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{self._host}:{self._port}/hooks?from=devflow"

    @property
    def port(self) -> int:
        return self._port

    def then(self, *answers: Answer) -> None:
        """What it answers to the next requests, one after the other."""
        self._next += answers

    def take(self, got: Got) -> Answer:
        with self._changed:
            self.got.append(got)
            self._changed.notify_all()
            if self._next:
                return self._next.pop(0)
            return self.usual if self.chooses is None else self.chooses(got)

    def wait(self, many: int, *, timeout: float = 60) -> list[Got]:
        """Wait until so many requests came; all that did."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= many, timeout), f"{len(self.got)} of {many} came"
            return list(self.got)

    def up(self) -> None:
        receiver = self

        class Server(_Server):
            def get_request(self) -> Any:
                taken = super().get_request()
                receiver.connections += 1
                return taken

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

    def down(self) -> None:
        """Nobody listens there any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.let_go.set()
        self.down()


@contextmanager
def meanwhile(act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Something happens in another thread, which has ended when the block has; what came of it. Raises what it did."""
    results: list[Any] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as failure:  # noqa: BLE001  # raised below
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(60)
    assert not thread.is_alive(), "it did not end"
    if failures:
        raise failures[0]


@contextmanager
def listening(host: str) -> Iterator[tuple[int, list[str]]]:
    """Somebody who must not be connected to: the port at an address of this machine, and who connected."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    came: list[str] = []
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        server.settimeout(0)

        def look() -> None:
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                connection.close()
                came.append(str(peer))

        yield server.getsockname()[1], came
        time.sleep(0)  # whoever connected on loopback is in the queue already
        look()
