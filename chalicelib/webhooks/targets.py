"""Where a webhook may go. No I/O: names are resolved elsewhere, and what they lead to is checked here.

An address is read once, strictly, and only what was read of it is used from there on: two readers of one address that
disagree are how a check is got around. Of addresses only those pass that are unicast and public. The rules are those
of the special-purpose registries of IANA (RFC 6890), plus what `ipaddress` takes for global and what leads elsewhere:
forms of IPv6 that carry an IPv4 address.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from chalicelib.core.errors import Invalid

MAX_URL_LENGTH = 2_048
"""Characters of an address."""


class BadTarget(Invalid):
    """This cannot be the address of a webhook."""


class Target(NamedTuple):
    """An address, read. `host` is a name in lower case, or an IP address as it is written canonically."""

    is_https: bool
    host: str
    port: int
    path: str
    """With the query, as it is sent in the request line."""

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
    """An address that may be a webhook's, as far as can be said without resolving its name. Raises BadTarget.

    `local`: on the local stage this machine itself may be a target, without TLS, too.
    """
    found = _URL.fullmatch(url) if len(url) <= MAX_URL_LENGTH else None
    if found is None or "#" in url or "\\" in url:
        raise BadTarget(
            "A webhook's address is https://host/path, in ASCII, without a user's name and without a fragment."
        )
    scheme, host, port, path = found[1], found[2].lower(), found[3], found[4] or "/"
    secure = scheme == "https"
    target = Target(
        secure, _canonical_host(host), int(port) if port else _PORTS[secure], path if path[0] == "/" else f"/{path}"
    )
    if not 1 <= target.port <= 65_535:  # noqa: PLR2004
        raise BadTarget("A port is a number from 1 to 65535.")
    if target.is_ip_address:
        check_addresses([target.host], local=local)
    itself = target.host == "localhost" or (target.is_ip_address and _is_loopback(target.host))
    if not itself and (target.host.endswith(".localhost") or ("." not in target.host and ":" not in target.host)):
        raise BadTarget("A webhook's address needs a host of the public internet, by its full name.")
    if itself and not local:
        raise BadTarget(NOT_PUBLIC)
    if not secure and not itself:
        raise BadTarget("A webhook's address begins with https://.")
    return target


def _canonical_host(text: str) -> str:
    """A host, canonically. Whatever some readers take for an IPv4 address (`127.1`, `0x7f000001`, `017700000001`) is
    one in its usual form, or refused."""
    if text.startswith("["):
        address = _parse_address(text[1:-1])
        if address is None:
            raise BadTarget(f"{text} is no address.")
        return str(address)
    if not _NAME.fullmatch(text):
        raise BadTarget("A webhook's address needs a valid host name; write an international one in Punycode (xn--…).")
    if _NUMBER.fullmatch(text.rpartition(".")[2]) and str(_parse_address(text)) != text:
        raise BadTarget("Write an IPv4 address as four decimal numbers.")
    return text


NOT_PUBLIC = "A webhook's address must lead to the public internet alone; this one leads elsewhere."

_DENIED_4 = [
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments, some of them global (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
    )
]
_UNICAST_6 = IPv6Network("2000::/3")
"""All of IPv6 that is given out (RFC 4291, section 2.4); mapped, compatible, NAT64, local and multicast forms are
elsewhere."""
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
    """Raises BadTarget unless a webhook may go to every one of these; the one that is used is among them."""
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
    """An address, None for anything else and for those that name a link (`fe80::1%eth0`)."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
