"""Repository URLs: what they consist of, whether they contain credentials, and patterns that match them.

A pattern has the syntax and meaning of the agent's option `--allow-repo` (agent/src/devflow/git_url.py). Scheme, host
and path match separately, so no part can be satisfied by another one: `https://*.acme.example/*` does not match
`https://evil.example/x.acme.example/y`. A host may begin with `*.`, and has no other wildcards.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, StringConstraints

MAX_PATTERNS = 32
"""How many patterns a list has at most. An agent's list is part of its row, which each check-in writes."""
MAX_PATTERN_LENGTH = 256

_MAX_URL_LENGTH = 1024
_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCHEMES = (*_PORTS, "file")
_SSH_SCHEMES = ("ssh", "git+ssh", "ssh+git")
_DEFAULT_SCHEMES = ("https", "ssh")
"""The schemes of a pattern that names none."""

# Strings, which `re` compiles when they are first used: compiling them here would make every cold start slower.
_SCP_LIKE = r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?!/)(?P<path>[^:].*)"
_HOST = r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+"
"""A name, or an IPv6 address without its brackets. git decodes `%2f` in a host, and connects to another one."""
_USER = r"[A-Za-z0-9._+~=-]*"
"""A user of ssh, without characters that could end the user or the host once git has decoded the URL."""
_URL_PATTERN = (
    r"(?:(?P<scheme>[a-z*?]+)://)?(?:[A-Za-z0-9._-]+@)?(?P<host>(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<path>[!-.0-~][!-~]*)?)?"
)
_SCP_PATTERN = r"(?:[A-Za-z0-9._-]+@)(?P<host>(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[!-~]+)"
_LOCAL_PATTERN = r"(?:file://)?(?P<path>/[!-~]*)"
_FIRST_AUTHORITY = r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):[/\\]*|[/\\]{2,})?(?P<authority>[^/\\?#]*)"
_FURTHER_AUTHORITY = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):[/\\]{2,}(?P<authority>[^/\\?#]*)"

_PLAIN_USER_SCHEMES = (*_SSH_SCHEMES, "file")
"""The schemes whose user name is not a secret. Without a scheme, the text is `[user@]host:path` of ssh, or a path."""


class RepoUrl(NamedTuple):
    """The parsed URL of a repository. The user and the password are left out."""

    scheme: str
    host: str
    path: str
    """The path without a leading slash and without `.git`."""
    port: int | None = None
    """None if it is the scheme's own."""


class RepoPattern(NamedTuple):
    """A parsed pattern. Scheme, host and path are shell patterns; an empty scheme means https or ssh."""

    scheme: str
    host: str
    path: str
    port: int | None = None
    any_port: bool = False

    def matches(self, repo: RepoUrl) -> bool:
        return (
            any(fnmatchcase(repo.scheme, scheme) for scheme in ([self.scheme] if self.scheme else _DEFAULT_SCHEMES))
            and fnmatchcase(repo.host, self.host)
            and fnmatchcase(repo.path, self.path)
            and (self.any_port or self.port == repo.port)
        )


def matches_any(patterns: Iterable[str], repo: str) -> bool:
    """Whether at least one pattern matches. A text that is not the URL of a repository matches none, not even `*`."""
    url = parse_repo_url(repo)
    return url is not None and any(pattern.matches(url) for text in patterns if (pattern := _parse_stored(text)))


def parse_repo_pattern(text: str) -> RepoPattern:
    """Parse `SCHEME://HOST[:PORT]/PATH`, `HOST[/PATH]` (https and ssh), `USER@HOST:PATH`, `/PATH` or `*`.

    Raises ValueError, whose message does not repeat the pattern: it may contain a password.
    """
    if text == "*":
        return RepoPattern("*", "*", "*", any_port=True)
    if has_credentials(text):
        raise ValueError("The pattern contains credentials. Remove the user and the password before the @.")
    if match := re.fullmatch(_LOCAL_PATTERN, text):
        return RepoPattern("file", "", _strip_git_suffix(match["path"]))
    if match := re.fullmatch(_SCP_PATTERN, text):
        return RepoPattern("ssh", match["host"].lower(), _strip_git_suffix(match["path"]))
    match = re.fullmatch(_URL_PATTERN, text)
    if match is None or (match["scheme"] and not any(fnmatchcase(known, match["scheme"]) for known in _SCHEMES)):
        raise ValueError(
            "This is not a pattern of repositories. Valid ones: https://github.com/acme/*, git@github.com:acme/*, "
            "github.com/acme/*, *"
        )
    port = int(match["port"]) if match["port"] else None
    scheme, path = match["scheme"] or "", _strip_git_suffix(match["path"] or "*")
    return RepoPattern(scheme, match["host"].lower(), path, None if port == _PORTS.get(scheme) else port)


@lru_cache(maxsize=4096)
def _parse_stored(text: str) -> RepoPattern | None:
    """A pattern that was valid when it was stored. None, which matches nothing, if it is not valid any more."""
    try:
        return parse_repo_pattern(text)
    except ValueError:
        return None


def parse_repo_url(text: str) -> RepoUrl | None:
    """Parse the URL of a repository, or `[user@]host:path`, or an absolute path.

    None if git, or the server, could resolve the text to another place than the one that patterns are compared with.
    """
    is_printable = len(text) <= _MAX_URL_LENGTH and not re.search(r"[\x00-\x20\x7f\\]", text)
    if not is_printable or text.startswith("-") or _has_dot_segment(text):
        return None
    if text.startswith("/"):
        return RepoUrl("file", "", _strip_git_suffix(text))
    if "::" in text.partition("://")[0]:  # `NAME::ADDRESS` makes git run its helper program NAME
        return None
    if "://" not in text and (scp := re.fullmatch(_SCP_LIKE, text)):
        scheme, host, path, port, user = "ssh", scp["host"].lower(), scp["path"], None, scp["user"] or ""
        is_plain = True
    else:
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return None
        scheme = "ssh" if parts.scheme in _SSH_SCHEMES else parts.scheme
        path, user = parts.path, unquote(parts.username or "")
        is_plain = _is_plain(scheme, host, user, text)
    is_option = host.startswith("-") or user.startswith("-")
    if not is_plain or scheme not in _SCHEMES or (scheme != "file" and (not host or is_option)):
        return None
    return RepoUrl(scheme, host, _strip_git_suffix(path), None if port == _PORTS.get(scheme) else port)


def has_credentials(repo: str) -> bool:
    """Whether a repository's URL contains a password, or a user name that may be a token.

    ssh needs a user name, which is often `git`, and never takes a token in its place. Every other user name may be a
    token: GitHub and others accept a token as the user of https. Also true if the URL contains another URL that does.
    """
    authorities = [re.match(_FIRST_AUTHORITY, repo), *re.finditer(_FURTHER_AUTHORITY, repo)]
    return any(_has_secret_user(match["scheme"], match["authority"]) for match in authorities if match is not None)


def _has_secret_user(scheme: str | None, authority: str) -> bool:
    if scheme is None:  # in `user@host:path`, the path may contain further @
        return ":" in authority.partition("@")[0] and "@" in authority
    user = authority.rpartition("@")[0]
    return ":" in user if scheme.lower() in _PLAIN_USER_SCHEMES else bool(user)


def _is_plain(scheme: str, host: str, user: str, url: str) -> bool:
    """Whether git finds the same host in a URL as `urlsplit`.

    git decodes a URL of ssh before it looks for the host, and knows no query and no fragment in it: it connects to
    `b.example` for `ssh://b.example%2f.a.example/x`, and for `ssh://a.example#@b.example/x`.
    """
    has_plain_user = scheme in ("https", "http") or re.fullmatch(_USER, user) is not None
    has_plain_host = scheme == "file" or re.fullmatch(_HOST, host) is not None
    return has_plain_user and has_plain_host and not re.search(r"[?#]", url)


def _has_dot_segment(url: str) -> bool:
    """Whether a segment is `.` or `..`, however often it is percent-encoded (RFC 3986, 5.2.4)."""
    decoded, before = url, ""
    while decoded != before:
        decoded, before = unquote(decoded), decoded
    return any(segment in (".", "..") for segment in re.split(r"[/\\:?#]", decoded))


def _strip_git_suffix(path: str) -> str:
    return path.strip("/").removesuffix(".git")


def _check_pattern(text: str) -> str:
    parse_repo_pattern(text)
    return text


def _unique(patterns: list[str]) -> list[str]:
    return list(dict.fromkeys(patterns))


RepoPatternText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_PATTERN_LENGTH, strip_whitespace=True),
    AfterValidator(_check_pattern),
]
"""A pattern in a request. It is checked and stored as it was sent."""
RepoPatterns = Annotated[list[RepoPatternText], Field(min_length=1, max_length=MAX_PATTERNS), AfterValidator(_unique)]
"""A list of patterns in a request, without repetitions. Not empty, which could be meant as none or as all."""
