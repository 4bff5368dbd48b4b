"""Attacks on the network of `--network proxy`."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable

from agent.tests.support.hostile.tools import FACTS, SECONDS, attack, can, connect


@attack
def reach_other_hosts() -> bool:
    """Returns whether anything but the allowed host was reached. Raises AssertionError if that one was not."""
    host, port = FACTS["platform"]
    assert ask(f"GET http://{host}:{port}/health HTTP/1.1") == 200, "the allowed host is not reached"
    assert ask(f"CONNECT {host}:{port} HTTP/1.1") == 200
    requests = [
        f"CONNECT {host}:22 HTTP/1.1", "CONNECT 169.254.169.254:80 HTTP/1.1", "CONNECT [::1]:80 HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1", "GET http://169.254.169.254/latest/meta-data/ HTTP/1.1",
        "GET http://example.com/ HTTP/1.1", "CONNECT metadata.google.internal:80 HTTP/1.1",
        f"CONNECT [::ffff:{host}]:{port} HTTP/1.1", f"CONNECT 0x7f000001:{port} HTTP/1.1",
        f"CONNECT 2130706433:{port} HTTP/1.1", f"CONNECT {host}.:80 HTTP/1.1",
    ]  # fmt: skip
    denied = [ask(request) for request in requests]
    smuggled = [ask(f"GET http://{host}:{port}/health HTTP/1.1\r\n{more}") for more in
                ("Host : other.example", " Host: other.example", "X: 1\nHost: other.example")]  # fmt: skip
    return denied != [403] * len(requests) or smuggled != [400] * len(smuggled)


def ask(head: str) -> int:
    with socket.create_connection(("127.0.0.1", 3128), SECONDS) as client:
        client.sendall(f"{head}\r\n\r\n".encode())
        return int(client.recv(65_536).split(b" ")[1])


@attack
def go_around_proxy() -> bool:
    attempts: list[Callable[[], object]] = [
        lambda: socket.create_connection(FACTS["platform"], 2),
        lambda: socket.create_connection(("169.254.169.254", 80), 2),
        lambda: socket.create_connection(("::1", FACTS["platform"][1]), 2),
        lambda: socket.create_connection(("2606:4700:4700::1111", 53), 2),
        lambda: send_datagram(("8.8.8.8", 53)),
        lambda: send_datagram(("169.254.169.254", 53)),
        lambda: socket.getaddrinfo("example.com", 443),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300),
        lambda: connect("\0" + FACTS["unique"]),
        add_address,
    ]
    return any(can(lambda _, action=action: action() is not None, "") for action in attempts)  # type: ignore[misc]


def send_datagram(address: tuple[str, int]) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", address)


def add_address() -> bool:
    """Give the loopback device another address, as an administrator of the network namespace could."""
    set_address = 0x8916
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        request = struct.pack("16sH2s4s8s", b"lo", socket.AF_INET, b"\0\0", socket.inet_aton("10.9.8.7"), b"")
        fcntl.ioctl(client, set_address, request)
    return True
