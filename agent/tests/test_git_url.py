"""Repository URLs and branch names of tasks."""

from __future__ import annotations

import pytest

from devflow import git_url
from devflow.errors import TaskFailedError
from devflow.redaction import redact

EVERY = ("https", "ssh", "http", "git", "file", "ext", "fd")


@pytest.mark.parametrize(
    ("text", "protocol", "host", "path", "user"),
    [
        ("https://github.com/user/repo.git", "https", "github.com", "user/repo", ""),
        ("https://GitHub.com/user/repo/", "https", "github.com", "user/repo", ""),
        ("git@github.com:user/repo.git", "ssh", "github.com", "user/repo", "git"),
        ("github.com:user/repo", "ssh", "github.com", "user/repo", ""),
        ("ssh://git@host.example:2222/srv/repo.git", "ssh", "host.example", "srv/repo", "git"),
        ("git+ssh://git@host.example/repo", "ssh", "host.example", "repo", "git"),
        ("http://localhost:8080/repo", "http", "localhost", "repo", ""),
        ("/srv/git/repo.git", "file", "", "srv/git/repo", ""),
        ("file:///srv/git/repo.git", "file", "", "srv/git/repo", ""),
    ],
)
def test_url_is_parsed(text: str, protocol: str, host: str, path: str, user: str) -> None:
    parsed = git_url.parse_git_url(text, EVERY)

    assert (parsed.url, parsed.protocol, parsed.host, parsed.path, parsed.user) == (text, protocol, host, path, user)
    assert parsed.password == ""


@pytest.mark.parametrize(
    "text",
    [
        "", "--upload-pack=touch /tmp/x", "-u", "https://a.example/\nrepo", "https://a.example/re po", "a\0b",
        "ext::sh -c touch% /tmp/x", "ext::x", "fd::17", "../repo", "repo", "~/repo", ".", "https:///repo",
        "ssh://-oProxyCommand=x/repo", "-oProxyCommand=x:repo", "ssh://-x@host/repo", "https://[::1/repo",
        "https://host:99999/repo",
        "https://a.example/acme/../evil/repo", "https://a.example/acme/%2e%2E/evil/repo",
        "https://a.example/acme/%252e%252e/evil/repo", "https://a.example/./repo", "https://a.example\\acme/repo",
        "file:///srv/allowed//../repo.git", "/srv/allowed/../repo.git", "git@a.example:acme/../evil/repo",
        "x" * 2000, "http::https://a.example/repo", "transport::https://a.example/x",
    ],
)  # fmt: skip
def test_url_that_git_would_interpret_differently_is_rejected(text: str) -> None:
    with pytest.raises(TaskFailedError):
        git_url.parse_git_url(text, EVERY)


@pytest.mark.parametrize(
    "text", ["http://a.example/r", "git://a.example/r", "file:///etc", "/etc", "ftp://a.example/r"]
)
def test_only_https_and_ssh_are_allowed_by_default(text: str) -> None:
    with pytest.raises(TaskFailedError, match="does not use"):
        git_url.parse_git_url(text)


def test_operator_may_restrict_the_repositories() -> None:
    patterns = ["https://github.com/acme/*", "git@github.com:acme/*"]

    assert git_url.parse_git_url("https://github.com/acme/shop", patterns=patterns).path == "acme/shop"
    assert git_url.parse_git_url("git@github.com:acme/shop.git", patterns=patterns).path == "acme/shop"
    with pytest.raises(TaskFailedError, match="does not work on"):
        git_url.parse_git_url("https://github.com/acme2/shop", patterns=patterns)


@pytest.mark.parametrize(
    ("text", "url", "user", "password"),
    [
        ("https://me:s3cret-word@a.example:8443/r.git", "https://a.example:8443/r.git", "me", "s3cret-word"),
        ("https://ghp_0123456789@github.com/u/r", "https://github.com/u/r", "x-access-token", "ghp_0123456789"),
        ("https://me:p%40ss-word@[::1]/r", "https://[::1]/r", "me", "p@ss-word"),
        ("ssh://me:s3cret-word@a.example/r", "ssh://me@a.example/r", "me", "s3cret-word"),
    ],
)
def test_password_is_removed_from_the_url_and_becomes_a_secret(text: str, url: str, user: str, password: str) -> None:
    parsed = git_url.parse_git_url(text)

    assert (parsed.url, parsed.user, parsed.password) == (url, user, password)
    assert redact(f"git said: {password}") == "git said: ***"


def test_error_does_not_contain_the_password() -> None:
    for text in ("http://me:s3cret-word@a.example/r", "https://me:s3cret-word@a.example/r x"):
        with pytest.raises(TaskFailedError) as raised:
            git_url.parse_git_url(text)
        assert "s3cret-word" not in str(raised.value)


@pytest.mark.parametrize("name", ["main", "feature/login", "release-1.2", "user@host", "größe", "a#b"])
def test_valid_branch_name_is_accepted(name: str) -> None:
    assert git_url.check_branch_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "@", "-b", "--upload-pack=x", "a b", "a\nb", "a..b", "a/../b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock",
        "a.lock/b", "a.", "a@{1}", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\x7f", "a/-b", "x" * 2000,
    ],
)  # fmt: skip
def test_invalid_branch_name_is_rejected(name: str) -> None:
    with pytest.raises(TaskFailedError):
        git_url.check_branch_name(name)
