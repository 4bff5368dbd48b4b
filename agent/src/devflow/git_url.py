"""Addresses and branches as they come with a task. Somebody else wrote them; git gets what is found to be plain."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote, urlsplit

from devflow.errors import TaskFailedError
from devflow.redaction import add_secret, redact

DEFAULT_PROTOCOLS = ("https", "ssh")
"""What git may use unless the agent's operator allows more (`--allow-protocol`)."""
_SCP_LIKE = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^:].*)")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|^/|\.$|\.lock(?:/|$)|(?:^|/)[.-]|^@$|^$")
_MAX_LENGTH = 1024


@dataclass(frozen=True)
class GitUrl:
    """Where a repository is."""

    url: str
    """As git gets it: without a user's password, for what git gets others on the machine can see."""
    protocol: str
    host: str
    path: str
    """Without a slash at the beginning and without `.git`."""
    user: str = ""
    password: str = ""


def parse_git_url(given: str, protocols: Collection[str] = DEFAULT_PROTOCOLS, patterns: Collection[str] = ()) -> GitUrl:
    """A repository's address, taken apart. Raises WorkError where it is none, or none that this agent may use.

    `patterns`, where there are any, are shell patterns, and one of them has to fit the address.
    """
    if not given or len(given) > _MAX_LENGTH or given.startswith("-") or re.search(r"[\x00-\x20\x7f]", given):
        raise TaskFailedError(f"The repository's address is not valid: {redact(given[:200])!r}")
    found = _split(given)
    if "\\" in found.url or _has_dot_segment(found.url):
        # git, or the server behind it, would go elsewhere than where the patterns were held against.
        raise TaskFailedError(f"The repository's address is not valid: {redact(given)!r}")
    if found.protocol not in protocols:
        raise TaskFailedError(f"This agent does not use {found.protocol} for repositories: {redact(found.url)}")
    if found.protocol != "file" and (not found.host or found.host.startswith("-") or found.user.startswith("-")):
        raise TaskFailedError(f"The repository's address is not valid: {redact(given)!r}")
    if patterns and not any(fnmatchcase(found.url, pattern) for pattern in patterns):
        raise TaskFailedError(f"This agent does not work on {redact(found.url)}")
    add_secret(found.password)
    return found


def check_branch_name(given: str) -> str:
    """A branch's name, by the rules of git-check-ref-format. Raises WorkError where it breaks one of them."""
    if _BAD_BRANCH.search(given) or len(given) > _MAX_LENGTH:
        raise TaskFailedError(f"The branch's name is not valid: {given[:200]!r}")
    return given


def _split(given: str) -> GitUrl:
    if given.startswith("/"):
        return GitUrl(given, "file", "", _strip_git_suffix(given))
    if "://" not in given and "::" not in given and (scp := _SCP_LIKE.fullmatch(given)):
        return GitUrl(given, "ssh", scp["host"], _strip_git_suffix(scp["path"]), scp["user"] or "")
    try:
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise TaskFailedError(f"The repository's address is not valid: {redact(given)!r}") from None
    protocol = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(parts.scheme, parts.scheme)
    if not protocol or "::" in given.partition("://")[0]:
        raise TaskFailedError(f"The repository's address is not valid: {redact(given)!r}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if protocol in ("http", "https") and user and not password:
        user, password = "x-access-token", user  # a token in the place of a user is a token still
    url = given
    if password:
        shown = f"[{host}]" if ":" in host else host
        kept = f"{quote(user, safe='')}@" if protocol == "ssh" else ""
        url = f"{parts.scheme}://{kept}{shown}{f':{port}' if port else ''}{parts.path}"
    return GitUrl(url, protocol, host.lower(), _strip_git_suffix(parts.path), user, password)


def _has_dot_segment(url: str) -> bool:
    """Whether a segment is `.` or `..`, however often encoded: such an address means another one (RFC 3986, 5.2.4)."""
    text, before = url, ""
    while text != before:
        text, before = unquote(text), text
    return any(segment in (".", "..") for segment in re.split(r"[/\\:?#]", text))


def _strip_git_suffix(path: str) -> str:
    return path.strip("/").removesuffix(".git")
