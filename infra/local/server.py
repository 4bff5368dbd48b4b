"""HTTP/1.1 on loopback in front of the gateway: connections stay open, a thread each."""

import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import urlsplit

from chalicelib.core import clock
from infra.local.gateway import BODY_LIMIT, Headers, Response, failure

IDLE_SECONDS = 75
"""How long a silent connection is kept, and how long a request may trickle in."""

_DRAIN_LIMIT = 4 * BODY_LIMIT
_LINE_LIMIT = 65_536


class Callee(Protocol):
    """What answers the requests."""

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response: ...


class _BadRequestError(Exception):
    """The request cannot be read; the connection ends after the answer, for where the next one begins is unknown."""


class _TooLargeError(Exception):
    """The body exceeds what API Gateway would take."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "DevFlow"
    sys_version = ""
    timeout = IDLE_SECONDS
    # Answers leave in one piece and at once; otherwise keep-alive costs 40 ms a request.
    disable_nagle_algorithm = True
    wbufsize = 65_536
    rbufsize = 65_536
    server: "Server"

    def _serve(self) -> None:
        try:
            body = self._body()
        except _BadRequestError as error:
            self.close_connection = True
            self._send(failure(400, "Invalid request", str(error)))
            return
        except _TooLargeError:
            # The client is still sending: read on for a while, or the reset would overtake the answer.
            self.close_connection = True
            self._send(failure(413, "Request too large", f"A request may have at most {BODY_LIMIT} bytes."))
            self._discard()
            return
        target = self.path
        if not target.startswith("/"):  # absolute form (RFC 9112, section 3.2.2), or the "*" of OPTIONS
            url = urlsplit(target)
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        assert self.server.callee is not None  # it accepts nothing before it is started
        response = self.server.callee.call(
            self.command, target, self.headers.items(), body, source_ip=self.client_address[0]
        )
        self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # names by http.server

    def handle_expect_100(self) -> bool:
        """Ask for the body (RFC 9110, section 10.1.1) unless what it is said to be will be refused anyway."""
        length = (self.headers.get("Content-Length") or "").strip()
        return (length.isdecimal() and int(length) > BODY_LIMIT) or super().handle_expect_100()

    def _body(self) -> bytes:
        encoding = self.headers.get("Transfer-Encoding")
        lengths = self.headers.get_all("Content-Length") or []
        if encoding is not None:
            if lengths or encoding.strip().lower() != "chunked":
                raise _BadRequestError("Send either Content-Length or Transfer-Encoding: chunked.")
            return self._chunks()
        if not lengths:
            return b""
        length = lengths[0].strip()
        if len(set(lengths)) != 1 or not (length.isascii() and length.isdigit()):
            raise _BadRequestError("Content-Length must be one whole number.")
        if int(length) > BODY_LIMIT:
            raise _TooLargeError
        return self._exactly(int(length))

    def _chunks(self) -> bytes:
        """RFC 9112, section 7.1; extensions and trailers are read and ignored."""
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > BODY_LIMIT:
                raise _TooLargeError
            body += self._exactly(size)
            if self.rfile.readline(_LINE_LIMIT).rstrip(b"\r\n"):
                raise _BadRequestError("A chunk is longer than it says.")
        while self.rfile.readline(_LINE_LIMIT).rstrip(b"\r\n"):
            pass
        return bytes(body)

    def _chunk_size(self) -> int:
        line = self.rfile.readline(_LINE_LIMIT).partition(b";")[0].strip()
        if not line or line.strip(b"0123456789abcdefABCDEF"):
            raise _BadRequestError("A chunk does not begin with its size.")
        return int(line, 16)

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise _BadRequestError("The body is shorter than Content-Length says.")
        return data

    def _discard(self) -> None:
        self.connection.settimeout(2)
        left = _DRAIN_LIMIT
        while left > 0 and (data := self.rfile.read1(_LINE_LIMIT)):
            left -= len(data)

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string(clock.now() / 1000))  # the stage's clock, as it was moved
        for name, value in response.headers:
            self.send_header(_line(name), _line(value))
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself objects to (a malformed request line, too many headers), in the contract's shape."""
        del explain
        status = int(code)
        if status == 501:  # noqa: PLR2004  # a method without a do_...: the callee knows best
            return self._serve()
        self.close_connection = True
        self.request_version = self.protocol_version  # also where the version could not be read
        title = "Invalid request" if status < 500 else "Internal error"  # noqa: PLR2004
        return self._send(failure(status, title, f"{message or 'The request cannot be read'}."))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named by http.server
        """The app writes a line for every request already."""


def _line(text: str) -> str:
    """A header's name or value without what would end its line early."""
    return text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace").decode("latin-1")


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on one loopback address from the beginning (OSError where it cannot); answers once started."""

    callee: Callee | None = None

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self, callee: Callee) -> None:
        self.callee = callee
        threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True).start()

    def stop(self) -> None:
        if self.callee is not None:  # only what serves can be shut down
            self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a line, not a page."""
        del request
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"server: {client_address[0]}: {error!r}", file=sys.stderr, flush=True)
