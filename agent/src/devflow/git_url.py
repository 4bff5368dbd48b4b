"""Repository URLs and branch names of tasks. A submitter wrote them, so they are checked before git gets them."""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from devflow.errors import SettingsError, TaskFailedError
from devflow.redaction import add_secret, redact

DEFAULT_PROTOCOLS = ("https", "ssh")
"""The protocols that git may use unless the agent's operator allows more (`--allow-protocol`)."""
_SCP_LIKE = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^:].*)")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|^/|\.$|\.lock(?:/|$)|(?:^|/)[.-]|^@$|^$")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
"""A name, or an IPv6 address without its brackets. git decodes `%2f` in a host, and connects to another one."""
_USER = re.compile(r"[A-Za-z0-9._+~=-]*")
"""A user of ssh, without characters that could end the user or the host once git has decoded the URL."""
_MAX_LENGTH = 1024
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_KNOWN = (*_PORTS, "file")
_URL_PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z*?]+)://)?(?:[A-Za-z0-9._-]+@)?(?P<host>(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<path>[!-.0-~][!-~]*)?)?"
)
_SCP_PATTERN = re.compile(r"(?:[A-Za-z0-9._-]+@)(?P<host>(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[!-~]+)")
_LOCAL_PATTERN = re.compile(r"(?:file://)?(?P<path>/[!-~]*)")
_PRIVATE = (
    "{host} is at a private address. The agent's operator can allow it with --allow-repo, "
    "or all private addresses with --allow-private-hosts"
)
_IPV4_IN_IPV6 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
"""NAT64 (RFC 6052) and IPv4-compatible addresses (RFC 4291, 2.5.5.1). `is_global` is true for some of them."""


@dataclass(frozen=True)
class GitUrl:
    """The parsed URL of a repository."""

    url: str
    """The URL that git gets. It has no password, because other users of the machine can see git's arguments."""
    protocol: str
    host: str
    path: str
    """The path without a leading slash and without `.git`."""
    user: str = ""
    password: str = ""
    port: int | None = None
    """None if it is the protocol's own."""


@dataclass(frozen=True)
class RepoPattern:
    """A pattern of repositories (`--allow-repo`). Scheme, host and path are shell patterns that match separately.

    So no part can be satisfied by another one: `https://*.acme.example/*` does not match
    `https://evil.example/x.acme.example/y`. A host may begin with `*.`, and has no other wildcards.
    """

    text: str
    protocol: str
    host: str
    path: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "RepoPattern":
        """Parse `SCHEME://HOST[:PORT]/PATH`, `HOST[/PATH]` (https and ssh), `USER@HOST:PATH`, `/PATH` or `*`.

        Raises SettingsError.
        """
        if text == "*":
            return cls(text, "*", "*", "*")
        if match := _LOCAL_PATTERN.fullmatch(text):
            return cls(text, "file", "", _strip_git_suffix(match["path"]))
        if match := _SCP_PATTERN.fullmatch(text):
            return cls(text, "ssh", match["host"].lower(), _strip_git_suffix(match["path"]))
        match = _URL_PATTERN.fullmatch(text)
        if match is None or (match["scheme"] and not any(fnmatchcase(known, match["scheme"]) for known in _KNOWN)):
            raise SettingsError(
                f"--allow-repo {text!r} is not a pattern of repositories. Valid ones: https://github.com/acme/*, "
                "git@github.com:acme/*, github.com/acme/*"
            )
        port = int(match["port"]) if match["port"] else None
        scheme, path = match["scheme"] or "", _strip_git_suffix(match["path"] or "*")
        return cls(text, scheme, match["host"].lower(), path, None if port == _PORTS.get(scheme) else port)

    def matches(self, url: GitUrl) -> bool:
        protocols = [self.protocol] if self.protocol else list(DEFAULT_PROTOCOLS)
        return (
            any(fnmatchcase(url.protocol, protocol) for protocol in protocols)
            and fnmatchcase(url.host, self.host)
            and fnmatchcase(url.path, self.path)
            and (self.port == url.port or self.text == "*")
        )


def parse_git_url(
    text: str, protocols: Collection[str] = DEFAULT_PROTOCOLS, patterns: Collection[RepoPattern] = ()
) -> GitUrl:
    """Parse and check a repository URL. Its password is registered as a secret.

    If there are `patterns`, the URL must match at least one.
    Raises TaskFailedError if the URL is not valid, or if this agent may not use it.
    """
    if not text or len(text) > _MAX_LENGTH or text.startswith("-") or re.search(r"[\x00-\x20\x7f]", text):
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)[:200]!r}")
    parsed = _split(text)
    if "\\" in parsed.url or _has_dot_segment(parsed.url) or not _is_plain(parsed):
        # git, or the server, would resolve such a URL to another place than the one that the patterns were matched to.
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}")
    if parsed.protocol not in protocols:
        raise TaskFailedError(f"This agent does not use {parsed.protocol} for repositories: {redact(parsed.url)}")
    if parsed.protocol != "file" and (not parsed.host or parsed.host.startswith("-") or parsed.user.startswith("-")):
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}")
    if patterns and not any(pattern.matches(parsed) for pattern in patterns):
        raise TaskFailedError(f"This agent does not work on {redact(parsed.url)}")
    add_secret(parsed.password)
    return parsed


def check_address(url: GitUrl, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
    """Check that the host has public addresses only. A submitter could reach a machine's own network otherwise.

    A host that cannot be resolved is not refused: it may be a name of ssh's configuration, or git uses a proxy.
    Raises TaskFailedError.
    """
    if not url.host:
        return
    if _is_localhost(url.host):  # curl, and so git, does not resolve these names
        raise TaskFailedError(_PRIVATE.format(host=url.host))
    try:
        addresses = {str(entry[4][0]) for entry in resolve(url.host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return
    if not all(is_public_address(address) for address in addresses):
        raise TaskFailedError(_PRIVATE.format(host=url.host))


def _is_localhost(host: str) -> bool:
    """Whether a name means this machine by RFC 6761, 6.3: `localhost`, and the names below it."""
    return host.rstrip(".").rpartition(".")[2] == "localhost"


def is_public_address(address: str) -> bool:
    """Whether an IP address is one of the public internet. False for private, link-local and loopback addresses."""
    return _is_public(ipaddress.ip_address(address.partition("%")[0]))


def is_on_host(address: str, url: GitUrl) -> bool:
    """Whether `address` is a web page on the host of a repository, without a user and of visible characters."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    schemes = ("https", "http") if url.protocol == "http" else ("https",)
    plain = address.isascii() and address.isprintable() and " " not in address and len(address) <= _MAX_LENGTH
    return plain and parts.scheme in schemes and bool(host) and host == url.host and "@" not in parts.netloc


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and any(address in network for network in _IPV4_IN_IPV6):
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if embedded is not None:
            return _is_public(embedded)
    return address.is_global and not address.is_multicast


def check_branch_name(name: str) -> str:
    """Return the name if it follows the rules of git-check-ref-format. Raises TaskFailedError if it breaks one."""
    if _BAD_BRANCH.search(name) or len(name) > _MAX_LENGTH:
        raise TaskFailedError(f"The branch name is not valid: {name[:200]!r}")
    return name


def _split(text: str) -> GitUrl:
    if text.startswith("/"):
        return GitUrl(text, "file", "", _strip_git_suffix(text))
    if "://" not in text and "::" not in text and (scp := _SCP_LIKE.fullmatch(text)):
        return GitUrl(text, "ssh", scp["host"].lower(), _strip_git_suffix(scp["path"]), scp["user"] or "")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}") from None
    protocol = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(parts.scheme, parts.scheme)
    if not protocol or "::" in text.partition("://")[0]:
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if protocol in ("http", "https") and user and not password:
        user, password = "x-access-token", user  # some hosts accept a token in place of the user name
    url = text
    if password:
        host_part = f"[{host}]" if ":" in host else host
        user_part = f"{quote(user, safe='')}@" if protocol == "ssh" else ""
        url = f"{parts.scheme}://{user_part}{host_part}{f':{port}' if port else ''}{parts.path}"
    port = None if port == _PORTS.get(protocol) else port
    return GitUrl(url, protocol, host.lower(), _strip_git_suffix(parts.path), user, password, port)


def _is_plain(url: GitUrl) -> bool:
    """Whether git finds the same host in a URL as `urlsplit`.

    git decodes a URL of ssh before it looks for the host, and knows no query and no fragment in it: it connects to
    `b.example` for `ssh://b.example%2f.a.example/x`, and for `ssh://a.example#@b.example/x`.
    """
    if "://" not in url.url:
        return True
    has_plain_user = url.protocol in ("https", "http") or _USER.fullmatch(url.user) is not None
    has_plain_host = url.protocol == "file" or _HOST.fullmatch(url.host) is not None
    return has_plain_user and has_plain_host and not re.search(r"[?#]", url.url)


def _has_dot_segment(url: str) -> bool:
    """Whether a segment is `.` or `..`, however often it is percent-encoded (RFC 3986, 5.2.4)."""
    decoded, before = url, ""
    while decoded != before:
        decoded, before = unquote(decoded), decoded
    return any(segment in (".", "..") for segment in re.split(r"[/\\:?#]", decoded))


def _strip_git_suffix(path: str) -> str:
    return path.strip("/").removesuffix(".git")
