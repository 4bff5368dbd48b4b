"""Checks where webhooks may be sent. No I/O: host names are resolved elsewhere, and this module checks the results.

A URL is parsed once and strictly, and only the parsed parts are used afterwards. A check can be bypassed where two
parsers of the same URL disagree. Only public unicast addresses are allowed. The rules follow IANA's special-purpose
address registries (RFC 6890). They also deny addresses that `ipaddress` considers global but that lead to other
networks: IPv6 forms that contain an IPv4 address.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from chalicelib.core.errors import Invalid

MAX_URL_LENGTH = 2_048
"""The longest URL, in characters."""


class BadTarget(Invalid):
    """Webhooks cannot be sent to this URL."""


class Target(NamedTuple):
    """A parsed URL. `host` is a name in lower case, or an IP address in its canonical form."""

    is_https: bool
    host: str
    port: int
    path: str
    """The path and query, as they are sent in the request line."""

    @property
    def is_ip_address(self) -> bool:
        return _parse_address(self.host) is not None

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.is_https] else f"{host}:{self.port}"


_PORTS = {True: 443, False: 80}
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?([/?][!-~]*)?", re.ASCII)
_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_target(url: str, *, local: bool) -> Target:
    """Parse a URL, and check it as far as is possible without resolving its host name. Raises BadTarget.

    `local` also allows this machine as a target, with and without TLS. It is True on the local stage only.
    """
    match = _URL.fullmatch(url) if len(url) <= MAX_URL_LENGTH else None
    if match is None or "#" in url or "\\" in url:
        raise BadTarget(
            "The URL of a webhook must have the form https://host/path, in ASCII, without a user name or a fragment."
        )
    scheme, host, port, path = match[1], match[2].lower(), match[3], match[4] or "/"
    secure = scheme == "https"
    target = Target(
        secure, _canonical_host(host), int(port) if port else _PORTS[secure], path if path[0] == "/" else f"/{path}"
    )
    if not 1 <= target.port <= 65_535:  # noqa: PLR2004
        raise BadTarget("The port must be a number from 1 to 65535.")
    if target.is_ip_address:
        check_addresses([target.host], local=local)
    this_machine = target.host == "localhost" or (target.is_ip_address and _is_loopback(target.host))
    if not this_machine and (target.host.endswith(".localhost") or ("." not in target.host and ":" not in target.host)):
        raise BadTarget("The URL of a webhook must contain the full name of a host on the public internet.")
    if this_machine and not local:
        raise BadTarget(NOT_PUBLIC)
    if not secure and not this_machine:
        raise BadTarget("The URL of a webhook must begin with https://.")
    return target


def _canonical_host(text: str) -> str:
    """The canonical form of a host. Raises BadTarget for one that is not valid.

    Some programs parse `127.1`, `0x7f000001` and `017700000001` as IPv4 addresses. Such forms are rejected; only four
    decimal numbers are accepted.
    """
    if text.startswith("["):
        address = _parse_address(text[1:-1])
        if address is None:
            raise BadTarget(f"{text} is not an IP address.")
        return str(address)
    if not _NAME.fullmatch(text):
        raise BadTarget("The host name in the URL is not valid. Write an international name in Punycode (xn--…).")
    if _NUMBER.fullmatch(text.rpartition(".")[2]) and str(_parse_address(text)) != text:
        raise BadTarget("Write an IPv4 address as four decimal numbers.")
    return text


NOT_PUBLIC = "The URL must lead only to public internet addresses. One of its addresses is not public."

_DENIED_4 = [
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments, some of them global (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
    )
]
_UNICAST_6 = IPv6Network("2000::/3")
"""The IPv6 addresses that are assigned to networks (RFC 4291, section 2.4). Mapped, compatible, NAT64, local and
multicast addresses are outside this range."""
_DENIED_6 = [
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks (RFC 2928)
        "2002::/16",  # 6to4, which carries an IPv4 address (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
]
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def check_addresses(addresses: Sequence[str], *, local: bool) -> None:
    """Raises BadTarget unless webhooks may be sent to every address. The caller connects to one of them."""
    if not addresses or not all(_is_allowed(address, local=local) for address in addresses):
        raise BadTarget(NOT_PUBLIC)


def _is_allowed(text: str, *, local: bool) -> bool:
    address = _parse_address(text)
    if address is None:
        return False
    if _is_loopback(text):
        return local
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _DENIED_4)
    return address in _UNICAST_6 and not any(address in network for network in _DENIED_6)


def _is_loopback(text: str) -> bool:
    address = _parse_address(text)
    return address is not None and any(address in network for network in _LOOPBACK)


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address. Returns None for other text, and for an address with a zone (`fe80::1%eth0`)."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
