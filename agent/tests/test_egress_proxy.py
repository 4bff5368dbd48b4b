"""The proxy of `--network proxy`: which hosts it connects to, and what it does with other requests.

The tests use it as engines do: through the forwarder, which makes its Unix socket reachable on loopback.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from devflow import egress_proxy, namespace_forwarder
from devflow.egress_proxy import EgressProxy, HostPattern
from devflow.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10


class Upstream:
    """A server on loopback that keeps what it receives, and answers each connection with a text."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def end(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Network:
    """A proxy, a server behind it, and the answers of a name server."""

    def __init__(self, cleanup: ExitStack) -> None:
        self.upstream, self._cleanup = Upstream(), cleanup
        cleanup.callback(self.upstream.end)
        self.denied: list[str] = []
        self.addresses: dict[str, str] = {"allowed.example": "127.0.0.1"}
        self._ports: dict[EgressProxy, int] = {}

    def resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.addresses[host], port))]

    def start(self, *patterns: str, private: bool = True) -> EgressProxy:
        allowed = [HostPattern.parse(text, private=private) for text in patterns]
        return self._cleanup.enter_context(EgressProxy(allowed, self.denied.append, self.resolve))

    def connect(self, proxy: EgressProxy) -> socket.socket:
        """Connect to the forwarder of a proxy, which is started first."""
        if proxy not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
            command = [sys.executable, "-I", "-S", namespace_forwarder.__file__, str(proxy.path), str(port)]
            process = subprocess.Popen([*command, "sleep", "60"], start_new_session=True)
            self._cleanup.callback(process.wait)
            self._cleanup.callback(os.killpg, process.pid, signal.SIGKILL)
            self._ports[proxy] = port
        end = time.monotonic() + SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._ports[proxy]), SECONDS)
            except ConnectionRefusedError:  # the forwarder is starting
                assert time.monotonic() < end
                time.sleep(0.01)

    def ask(self, proxy: EgressProxy, *requests: str) -> str:
        """Send the texts, each after a response to the one before. Returns everything that is received."""
        with self.connect(proxy) as client:
            received = b""
            for request in requests[:-1]:
                client.sendall(request.encode("latin-1"))
                received += client.recv(65_536)
            client.sendall(requests[-1].encode("latin-1"))
            client.shutdown(socket.SHUT_WR)
            while content := client.recv(65_536):
                received += content
        return received.decode("latin-1")


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as cleanup:
        yield Network(cleanup)


def test_tunnel_to_an_allowed_host(network: Network) -> None:
    target = f"allowed.example:{network.upstream.port}"
    received = network.ask(network.start(target), f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n", "secret")

    assert received.startswith("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")
    assert network.upstream.received == [b"secret"]
    assert network.denied == []


def test_plain_request_reaches_the_host_of_its_url_only(network: Network) -> None:
    """Neither the Host header nor a second request on the connection can name another host."""
    target = f"allowed.example:{network.upstream.port}"
    received = network.ask(
        network.start(target),
        f"GET http://{target}/a/b?c=d HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: x\r\nAccept: */*\r\n\r\n",
    )

    assert received.endswith("hello")
    (request,) = network.upstream.received
    assert request.decode().split("\r\n") == [
        "GET /a/b?c=d HTTP/1.1", f"Host: {target}", "Connection: close", "Accept: */*", "", "",
    ]  # fmt: skip


def test_proxy_continues_after_the_agent_had_too_many_open_files(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, errors = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def accept_later(server: socket.socket) -> tuple[socket.socket, Any]:
        if server.family == socket.AF_UNIX and errors:
            raise errors.pop()
        return accept(server)

    monkeypatch.setattr(socket.socket, "accept", accept_later)
    target = f"allowed.example:{network.upstream.port}"

    assert network.ask(network.start(target), f"CONNECT {target} HTTP/1.1\r\n\r\n", "x").startswith("HTTP/1.1 200")


@pytest.mark.parametrize(
    "target",
    ["other.example:443", "allowed.example:22", "evil.allowed.example:443", "127.0.0.1:443", "[::1]:443", "a_b:443"],
)
def test_other_hosts_and_ports_are_denied(network: Network, target: str) -> None:
    network.addresses |= {"other.example": "127.0.0.1", "evil.allowed.example": "127.0.0.1", "127.0.0.1": "127.0.0.1"}
    proxy = network.start("allowed.example")
    for _ in range(2):
        assert network.ask(proxy, f"CONNECT {target} HTTP/1.1\r\n\r\n").startswith("HTTP/1.1 403 Forbidden")

    assert network.denied == [target.replace("[::1]", "::1")], "once"
    assert network.upstream.received == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"]
)
@pytest.mark.parametrize("pattern", ["*.rebound.example", "inner.rebound.example"])
def test_allowed_name_must_have_a_public_address(network: Network, address: str, pattern: str) -> None:
    """Somebody who controls the name could lead the engine into this machine's network."""
    network.addresses["inner.rebound.example"] = address
    port = network.upstream.port

    proxy = network.start(f"{pattern}:{port}", private=False)
    denied = network.ask(proxy, f"CONNECT inner.rebound.example:{port} HTTP/1.1\r\n\r\n")
    assert denied.startswith("HTTP/1.1 403")
    assert network.denied == [f"inner.rebound.example:{port}"]
    assert network.upstream.received == []


def test_allowed_address_may_be_private(network: Network) -> None:
    network.addresses["127.0.0.1"] = "127.0.0.1"
    target = f"127.0.0.1:{network.upstream.port}"

    assert "hello" in network.ask(network.start(target, private=False), f"GET http://{target}/ HTTP/1.1\r\n\r\n")


def test_name_is_resolved_once_and_the_checked_address_is_used(network: Network) -> None:
    """A name server that gives another address to the second question cannot move the connection."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    network.resolve = resolve  # type: ignore[method-assign]
    target = f"allowed.example:{network.upstream.port}"
    assert "hello" in network.ask(network.start(target), f"CONNECT {target} HTTP/1.1\r\n\r\n", "x")
    assert asked == ["allowed.example"]


@pytest.mark.parametrize(
    "field",
    [
        "Host : other.example", " Host: other.example", "X: 1\nHost: other.example", "X: 1\rHost: other.example",
        "Host\t: other.example", "\x00Host: other.example", "no colon", "X: \x00", ": empty",
    ],
)  # fmt: skip
def test_header_that_a_server_could_read_differently_is_rejected(network: Network, field: str) -> None:
    target = f"allowed.example:{network.upstream.port}"
    received = network.ask(network.start(target), f"GET http://{target}/ HTTP/1.1\r\nAccept: */*\r\n{field}\r\n\r\n")

    assert received.startswith("HTTP/1.1 400 Bad Request")
    assert network.upstream.received == []


def test_header_that_comes_slowly_is_cut_off(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part arrives in time, but the header as a whole does not."""
    monkeypatch.setattr(egress_proxy, "_HEADER_SECONDS", 0.2)
    end = time.monotonic() + SECONDS
    with network.connect(network.start("allowed.example")) as client:
        while not select.select([client], [], [], 0.02)[0]:
            client.sendall(b"G")
            assert time.monotonic() < end, "it is still open"
        assert client.recv(100) == b""


def test_name_that_cannot_be_resolved_is_denied_and_a_closed_port_reported(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    proxy = network.start("unknown.example", f"allowed.example:{port}")

    assert "403" in network.ask(proxy, "CONNECT unknown.example:443 HTTP/1.1\r\n\r\n")
    assert "502" in network.ask(proxy, f"CONNECT allowed.example:{port} HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        "GET https://allowed.example/ HTTP/1.1\r\n\r\n",
        "GET http://me@allowed.example/ HTTP/1.1\r\n\r\n",
        "CONNECT allowed.example HTTP/1.1\r\n\r\n",
        "CONNECT allowed.example:99999 HTTP/1.1\r\n\r\n",
        "CONNECT [::1 HTTP/1.1\r\n\r\n",
        "CONNECT [::ffff:8.8.8.8%25x.allowed.example]:443 HTTP/1.1\r\n\r\n",
        "get http://allowed.example/ HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "GET http://allowed.example/ HTTP/2\r\n\r\n",
        "GET http://allowed.example/",
        "GET http://allowed.example/\x01 HTTP/1.1\r\n\r\n",
        "GET http://allowed.example\\@other.example/ HTTP/1.1\r\n\r\n",
        "",
    ],
)
def test_request_that_is_not_for_a_proxy_is_rejected(network: Network, request_text: str) -> None:
    received = network.ask(network.start("allowed.example"), request_text)
    assert received.startswith("HTTP/1.1 400 Bad Request")
    assert network.denied == []


def test_endless_header_is_rejected(network: Network) -> None:
    assert "400" in network.ask(network.start("allowed.example"), "GET http://allowed.example/" + "a" * 200_000)


def test_open_connections_end_with_the_proxy(network: Network) -> None:
    target = f"allowed.example:{network.upstream.port}"
    with ExitStack() as cleanup:
        proxy = EgressProxy([HostPattern.parse(target, private=True)], network.denied.append, network.resolve)
        with proxy:
            client = cleanup.enter_context(network.connect(proxy))
            client.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert client.recv(100) == b""
        assert not proxy.path.parent.exists()


@pytest.mark.parametrize(
    "text", ["", "*", "https://a.example", "a.example/x", "a.*.example", "a:b", "*.", "a.example:"]
)
def test_invalid_host_is_rejected(text: str) -> None:
    with pytest.raises(SettingsError, match="--allow-host"):
        HostPattern.parse(text)


def test_hosts_are_matched_with_their_ports() -> None:
    assert HostPattern.parse("API.example").matches("api.example", 443)
    assert not HostPattern.parse("api.example").matches("api.example", 8443)
    assert HostPattern.parse("api.example:8443").matches("api.example", 8443)
    assert not HostPattern.parse("api.example:8443").matches("api.example", 443)
    assert HostPattern.parse("*.example").matches("a.b.example", 80)
    assert not HostPattern.parse("*.example").matches("example", 443)
