"""The only way out of a sandbox with `--network proxy`: an HTTP proxy that connects to allowed hosts only.

It runs in the agent and listens on a Unix socket, which the sandbox shows to the engine. `devflow.namespace_forwarder`
makes it reachable on loopback inside. It reads the request line and the headers of a request, and never what an
encrypted connection contains.
"""

import ipaddress
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from devflow.errors import SettingsError
from devflow.git_url import is_public_address

_PORTS = (80, 443)
"""The ports of hosts whose pattern names none."""
_PATTERN = re.compile(r"(?P<host>(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>[0-9]{1,5}))?")
_METHOD = re.compile(r"[A-Z]{1,20}")
_TARGET = re.compile(r"[!-~]+")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")
"""One header line (RFC 9112, section 5). Servers differ in how they read others, such as `Host :` or folded lines."""
_MAX_HEADER = 65_536
_MAX_CONNECTIONS = 256
"""The connections of one engine. Each takes two open files of the agent."""
_RETRY_SECONDS = 0.1
_HEADER_SECONDS, _CONNECT_SECONDS = 30.0, 15.0
_CHUNK = 65_536


@dataclass(frozen=True)
class HostPattern:
    """A host that engines may reach (`--allow-host`)."""

    host: str
    port: int | None = None
    private: bool = False
    """Whether the host may have a private address. An address in place of a name always may: it cannot change."""

    @classmethod
    def parse(cls, text: str, *, private: bool = False) -> "HostPattern":
        """Parse `HOST`, `*.DOMAIN` or `HOST:PORT`. Raises SettingsError."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise SettingsError(
                f"--allow-host {text!r} must be a host, like api.example.com, *.example.com or host:8443"
            )
        host = match["host"].lower()
        return cls(host, int(match["port"]) if match["port"] else None, private or _is_address(host))

    def matches(self, host: str, port: int) -> bool:
        return fnmatchcase(host, self.host) and (port == self.port if self.port else port in _PORTS)


class EgressProxy:
    """Serves one engine. Use it as a context manager: it listens from the beginning to the end of the block."""

    def __init__(
        self,
        allowed: Collection[HostPattern],
        on_denied: Callable[[str], None],
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        """`on_denied` gets each `HOST:PORT` that was denied, once."""
        self._allowed, self._on_denied, self._resolve = allowed, on_denied, resolve
        # The path of a Unix socket has at most 108 bytes, and the directory of an attempt may have more.
        self._directory = tempfile.TemporaryDirectory(prefix="devflow-")
        self.path = Path(self._directory.name) / "proxy"
        """The socket."""
        self._server = socket.socket(socket.AF_UNIX)
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._denied: set[str] = set()
        self._closed = False

    def __enter__(self) -> Self:
        self._server.bind(str(self.path))
        self._server.listen(_MAX_CONNECTIONS)
        threading.Thread(target=self._accept, name="egress-proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            connections = list(self._open)
        for connection in [self._server, *connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(_RETRY_SECONDS)  # the agent has too many open files
                continue
            if not self._slots.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), name="egress", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                if self._track(client):
                    self._handle(client)
        except OSError:  # one of the sides has closed the connection
            pass
        finally:
            with self._lock:
                self._open.discard(client)
            self._slots.release()

    def _track(self, connection: socket.socket) -> bool:
        with self._lock:
            self._open.add(connection)
            return not self._closed

    def _handle(self, client: socket.socket) -> None:
        header, rest = _read_header(client)
        request = _parse(header)
        if request is None:
            _respond(client, "400 Bad Request", "This is not a request to an HTTP proxy")
            return
        host, port, forwarded = request
        addresses = self._find_addresses(host, port)
        if not addresses:
            _respond(client, "403 Forbidden", f"{host}:{port} is not allowed on this machine (--allow-host)")
            return
        upstream = _connect(addresses)
        if upstream is None:
            _respond(client, "502 Bad Gateway", f"{host}:{port} cannot be reached")
            return
        with upstream:
            if not self._track(upstream):
                return
            try:
                if forwarded is None:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    upstream.sendall(forwarded)
                upstream.sendall(rest)
                _tunnel(client, upstream)
            finally:
                with self._lock:
                    self._open.discard(upstream)

    def _find_addresses(self, host: str, port: int) -> list[Any]:
        """Return the addresses to connect to. Returns none if the host is not allowed or cannot be resolved."""
        patterns = [pattern for pattern in self._allowed if pattern.matches(host, port)]
        addresses = []
        if patterns:
            with suppress(OSError, UnicodeError):
                addresses = self._resolve(host, port, type=socket.SOCK_STREAM)
        # The owner of an allowed name could let it lead into this machine's network, or to the metadata of a cloud.
        if not any(pattern.private for pattern in patterns):
            addresses = [entry for entry in addresses if is_public_address(str(entry[4][0]))]
        if not addresses:
            self._deny(f"{host}:{port}")
        return addresses

    def _deny(self, target: str) -> None:
        with self._lock:
            new = target not in self._denied and len(self._denied) < _MAX_CONNECTIONS
            self._denied.add(target)
        if new:
            self._on_denied(target)


def _read_header(client: socket.socket) -> tuple[bytes, bytes]:
    """Return the header of a request without its empty line, and what follows. Raises TimeoutError if it is late."""
    received, end = b"", time.monotonic() + _HEADER_SECONDS
    while b"\r\n\r\n" not in received:
        client.settimeout(max(0.001, end - time.monotonic()))
        content = client.recv(_CHUNK)
        if not content or len(received) > _MAX_HEADER:
            return b"", b""
        received += content
    header, _, rest = received.partition(b"\r\n\r\n")
    return header, rest


def _parse(header: bytes) -> tuple[str, int, bytes | None] | None:
    """Return host, port, and what to send to the host first: None for CONNECT, which opens a tunnel."""
    line, *fields = header.decode("latin-1").split("\r\n")
    try:
        method, target, version = line.split(" ")
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = (url.hostname or "").rstrip("."), url.port
    except ValueError:
        return None
    if (
        not host
        or "%" in host
        or url.username is not None
        or not version.startswith("HTTP/1.")
        or not _METHOD.fullmatch(method)
    ):
        return None
    if not _TARGET.fullmatch(target) or not all(map(_FIELD.fullmatch, fields)):
        return None
    if method == "CONNECT":
        return (host, port, None) if port else None
    if url.scheme != "http":
        return None
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    kept = [field for field in fields if not field.lower().startswith(("host:", "connection:", "proxy-"))]
    # The host that was checked, and no second request on the connection.
    named = f"[{host}]" if ":" in host else host
    head = [
        f"{method} {path} HTTP/1.1",
        f"Host: {named}:{port}" if port else f"Host: {named}",
        "Connection: close",
        *kept,
        "",
        "",
    ]
    return host, port or 80, "\r\n".join(head).encode("latin-1")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _respond(client: socket.socket, status: str, text: str) -> None:
    body = f"devflow: {text}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + body)


def _connect(addresses: list[Any]) -> socket.socket | None:
    for family, kind, protocol, _, address in addresses:
        upstream = socket.socket(family, kind, protocol)
        try:
            upstream.settimeout(_CONNECT_SECONDS)
            upstream.connect(address)
        except OSError:
            upstream.close()
        else:
            return upstream
    return None


def _tunnel(client: socket.socket, upstream: socket.socket) -> None:
    """Copy in both directions until both sides have ended."""
    for connection in (client, upstream):
        connection.settimeout(None)
    backwards = threading.Thread(target=_copy, args=(upstream, client), name="egress-back", daemon=True)
    backwards.start()
    _copy(client, upstream)
    backwards.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # closed by the other side, or at the end of the task
        while content := source.recv(_CHUNK):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
