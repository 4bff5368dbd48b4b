"""An HTTP/1.1 server on loopback, with keep-alive and one thread for each connection."""

import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import urlsplit

from chalicelib.core import clock
from infra.local.gateway import BODY_LIMIT, Headers, Response, error_response

IDLE_SECONDS = 75
"""The time after which an idle connection is closed, and the time limit for receiving a request."""

_DRAIN_LIMIT = 4 * BODY_LIMIT
_LINE_LIMIT = 65_536


class Application(Protocol):
    """The application behind the server."""

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response: ...


class _BadRequestError(Exception):
    """The request cannot be parsed. The connection is closed after the response, because it is unknown where the next
    request starts."""


class _TooLargeError(Exception):
    """The body exceeds API Gateway's limit."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "DevFlow"
    sys_version = ""
    timeout = IDLE_SECONDS
    # Send each response at once and in one piece. Otherwise Nagle's algorithm delays each request by 40 ms.
    disable_nagle_algorithm = True
    wbufsize = 65_536
    rbufsize = 65_536
    server: "HttpServer"

    def _serve(self) -> None:
        try:
            body = self._body()
        except _BadRequestError as error:
            self.close_connection = True
            self._send(error_response(400, "Invalid request", str(error)))
            return
        except _TooLargeError:
            # The client is still sending. Read on for a while, or the connection reset arrives before the response.
            self.close_connection = True
            self._send(error_response(413, "Request too large", f"The limit of a request is {BODY_LIMIT} bytes."))
            self._discard()
            return
        target = self.path
        if not target.startswith("/"):  # absolute form (RFC 9112, section 3.2.2), or the "*" of OPTIONS
            url = urlsplit(target)
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        assert self.server.application is not None  # the server accepts no connection before it is started
        response = self.server.application.call(
            self.command, target, self.headers.items(), body, source_ip=self.client_address[0]
        )
        self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # names by http.server

    def handle_expect_100(self) -> bool:
        """Request the body (RFC 9110, section 10.1.1), unless its declared length exceeds the limit."""
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
        """A chunked body (RFC 9112, section 7.1). Chunk extensions and trailers are ignored."""
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > BODY_LIMIT:
                raise _TooLargeError
            body += self._exactly(size)
            if self.rfile.readline(_LINE_LIMIT).rstrip(b"\r\n"):
                raise _BadRequestError("A chunk is longer than its declared size.")
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
            raise _BadRequestError("The body is shorter than its declared length.")
        return data

    def _discard(self) -> None:
        self.connection.settimeout(2)
        left = _DRAIN_LIMIT
        while left > 0 and (data := self.rfile.read1(_LINE_LIMIT)):
            left -= len(data)

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string(clock.now() / 1000))  # the stage's clock, which tests move
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
        """Send an error that http.server detects, such as a malformed request line, in the shape of all errors."""
        del explain
        status = int(code)
        if status == 501:  # noqa: PLR2004  # a method without a do_...: the application responds
            return self._serve()
        self.close_connection = True
        self.request_version = self.protocol_version  # set it in case the version could not be parsed
        title = "Invalid request" if status < 500 else "Internal error"  # noqa: PLR2004
        return self._send(error_response(status, title, f"{message or 'The request cannot be parsed'}."))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named by http.server
        """Log nothing: the app logs every request."""


def _line(text: str) -> str:
    """A header's name or value without line breaks."""
    return text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace").decode("latin-1")


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on one loopback address from its creation, and responds once it is started.

    Raises OSError if it cannot listen.
    """

    application: Application | None = None

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self, application: Application) -> None:
        self.application = application
        threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True).start()

    def stop(self) -> None:
        if self.application is not None:  # `shutdown` blocks if the server was never started
            self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnected, and log any other error in one line."""
        del request
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"server: {client_address[0]}: {error!r}", file=sys.stderr, flush=True)
