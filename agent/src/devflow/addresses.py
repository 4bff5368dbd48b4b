"""Addresses and branches as they come with a task. Somebody else wrote them; git gets what is found to be plain."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote, urlsplit

from devflow.errors import WorkError
from devflow.redact import hide, redacted

PROTOCOLS = ("https", "ssh")
"""What git may use unless the agent's operator allows more (`--allow-protocol`)."""
_SCP_LIKE = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^:].*)")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|^/|\.$|\.lock(?:/|$)|(?:^|/)[.-]|^@$|^$")
_MOST = 1024


@dataclass(frozen=True)
class Address:
    """Where a repository is."""

    url: str
    """As git gets it: without a user's password, for what git gets others on the machine can see."""
    protocol: str
    host: str
    path: str
    """Without a slash at the beginning and without `.git`."""
    user: str = ""
    password: str = ""


def address(given: str, protocols: Collection[str] = PROTOCOLS, patterns: Collection[str] = ()) -> Address:
    """A repository's address, taken apart. Raises WorkError where it is none, or none that this agent may use.

    `patterns`, where there are any, are shell patterns, and one of them has to fit the address.
    """
    if not given or len(given) > _MOST or given.startswith("-") or re.search(r"[\x00-\x20\x7f]", given):
        raise WorkError(f"The repository's address is not valid: {redacted(given[:200])!r}")
    found = _taken_apart(given)
    if "\\" in found.url or _climbs(found.url):
        # git, or the server behind it, would go elsewhere than where the patterns were held against.
        raise WorkError(f"The repository's address is not valid: {redacted(given)!r}")
    if found.protocol not in protocols:
        raise WorkError(f"This agent does not use {found.protocol} for repositories: {redacted(found.url)}")
    if found.protocol != "file" and (not found.host or found.host.startswith("-") or found.user.startswith("-")):
        raise WorkError(f"The repository's address is not valid: {redacted(given)!r}")
    if patterns and not any(fnmatchcase(found.url, pattern) for pattern in patterns):
        raise WorkError(f"This agent does not work on {redacted(found.url)}")
    hide(found.password)
    return found


def branch(given: str) -> str:
    """A branch's name, by the rules of git-check-ref-format. Raises WorkError where it breaks one of them."""
    if _BAD_BRANCH.search(given) or len(given) > _MOST:
        raise WorkError(f"The branch's name is not valid: {given[:200]!r}")
    return given


def _taken_apart(given: str) -> Address:
    if given.startswith("/"):
        return Address(given, "file", "", _stem(given))
    if "://" not in given and "::" not in given and (scp := _SCP_LIKE.fullmatch(given)):
        return Address(given, "ssh", scp["host"], _stem(scp["path"]), scp["user"] or "")
    try:
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise WorkError(f"The repository's address is not valid: {redacted(given)!r}") from None
    protocol = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(parts.scheme, parts.scheme)
    if not protocol or "::" in given.partition("://")[0]:
        raise WorkError(f"The repository's address is not valid: {redacted(given)!r}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if protocol in ("http", "https") and user and not password:
        user, password = "x-access-token", user  # a token in the place of a user is a token still
    url = given
    if password:
        shown = f"[{host}]" if ":" in host else host
        kept = f"{quote(user, safe='')}@" if protocol == "ssh" else ""
        url = f"{parts.scheme}://{kept}{shown}{f':{port}' if port else ''}{parts.path}"
    return Address(url, protocol, host.lower(), _stem(parts.path), user, password)


def _climbs(url: str) -> bool:
    """Whether a segment is `.` or `..`, however often encoded: such an address means another one (RFC 3986, 5.2.4)."""
    text, before = url, ""
    while text != before:
        text, before = unquote(text), text
    return any(segment in (".", "..") for segment in re.split(r"[/\\:?#]", text))


def _stem(path: str) -> str:
    return path.strip("/").removesuffix(".git")
