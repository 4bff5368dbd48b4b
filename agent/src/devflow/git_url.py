"""Repository URLs and branch names of tasks. A submitter wrote them, so they are checked before git gets them."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote, urlsplit

from devflow.errors import TaskFailedError
from devflow.redaction import add_secret, redact

DEFAULT_PROTOCOLS = ("https", "ssh")
"""The protocols that git may use unless the agent's operator allows more (`--allow-protocol`)."""
_SCP_LIKE = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^:].*)")
_BAD_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|^/|\.$|\.lock(?:/|$)|(?:^|/)[.-]|^@$|^$")
_MAX_LENGTH = 1024


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


def parse_git_url(text: str, protocols: Collection[str] = DEFAULT_PROTOCOLS, patterns: Collection[str] = ()) -> GitUrl:
    """Parse and check a repository URL. Its password is registered as a secret.

    `patterns` are shell patterns. If there are any, the URL must match at least one.
    Raises TaskFailedError if the URL is not valid, or if this agent may not use it.
    """
    if not text or len(text) > _MAX_LENGTH or text.startswith("-") or re.search(r"[\x00-\x20\x7f]", text):
        raise TaskFailedError(f"The repository URL is not valid: {redact(text[:200])!r}")
    parsed = _split(text)
    if "\\" in parsed.url or _has_dot_segment(parsed.url):
        # git, or the server, would resolve such a URL to another place than the one that the patterns were matched to.
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}")
    if parsed.protocol not in protocols:
        raise TaskFailedError(f"This agent does not use {parsed.protocol} for repositories: {redact(parsed.url)}")
    if parsed.protocol != "file" and (not parsed.host or parsed.host.startswith("-") or parsed.user.startswith("-")):
        raise TaskFailedError(f"The repository URL is not valid: {redact(text)!r}")
    if patterns and not any(fnmatchcase(parsed.url, pattern) for pattern in patterns):
        raise TaskFailedError(f"This agent does not work on {redact(parsed.url)}")
    add_secret(parsed.password)
    return parsed


def check_branch_name(name: str) -> str:
    """Return the name if it follows the rules of git-check-ref-format. Raises TaskFailedError if it breaks one."""
    if _BAD_BRANCH.search(name) or len(name) > _MAX_LENGTH:
        raise TaskFailedError(f"The branch name is not valid: {name[:200]!r}")
    return name


def _split(text: str) -> GitUrl:
    if text.startswith("/"):
        return GitUrl(text, "file", "", _strip_git_suffix(text))
    if "://" not in text and "::" not in text and (scp := _SCP_LIKE.fullmatch(text)):
        return GitUrl(text, "ssh", scp["host"], _strip_git_suffix(scp["path"]), scp["user"] or "")
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
    return GitUrl(url, protocol, host.lower(), _strip_git_suffix(parts.path), user, password)


def _has_dot_segment(url: str) -> bool:
    """Whether a segment is `.` or `..`, however often it is percent-encoded (RFC 3986, 5.2.4)."""
    decoded, before = url, ""
    while decoded != before:
        decoded, before = unquote(decoded), decoded
    return any(segment in (".", "..") for segment in re.split(r"[/\\:?#]", decoded))


def _strip_git_suffix(path: str) -> str:
    return path.strip("/").removesuffix(".git")
