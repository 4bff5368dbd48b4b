"""Repository URLs and branch names of tasks."""

from __future__ import annotations

import pytest

from devflow import git_url
from devflow.errors import SettingsError, TaskFailedError
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
        "ssh://git@a.example%2f.b.example/x", "https://127%2e0%2e0%2e1/x", "ssh://10%2e0%2e0%2e1/x",
        "ssh://a.example#@b.example/x", "ssh://a.example?@b.example/x", "git://a.example#@b.example/x",
        "ssh://git%40b.example%2f@a.example/x", "ssh://git%40b.example%2f:pw@a.example/x",
        "ssh://beef.de%2f.a.example/x", "https://a.example/x?y", "https://a.example/x#y",
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
    patterns = [git_url.RepoPattern.parse(text) for text in ("https://github.com/acme/*", "git@github.com:acme/*")]

    assert git_url.parse_git_url("https://github.com/acme/shop", patterns=patterns).path == "acme/shop"
    assert git_url.parse_git_url("git@github.com:acme/shop.git", patterns=patterns).path == "acme/shop"
    with pytest.raises(TaskFailedError, match="does not work on"):
        git_url.parse_git_url("https://github.com/acme2/shop", patterns=patterns)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("https://github.com/acme/*", "https://github.com/acme/shop"),
        ("https://github.com/acme/*", "https://GitHub.com/acme/shop.git"),
        ("https://github.com/acme/*", "https://github.com:443/acme/deep/shop"),
        ("https://*.acme.example/*", "https://git.acme.example/shop"),
        ("*://github.com/acme/shop", "ssh://git@github.com/acme/shop.git"),
        ("github.com/acme/*", "https://github.com/acme/shop"),
        ("github.com/acme/*", "git@github.com:acme/shop.git"),
        ("github.com", "https://github.com/any/thing"),
        ("git@github.com:acme/*", "ssh://git@github.com/acme/shop"),
        ("https://git.example:8443/*", "https://git.example:8443/shop"),
        ("/srv/git/*", "/srv/git/shop.git"),
        ("file:///srv/git/*", "file:///srv/git/shop.git"),
        ("*", "https://a.example/x"),
    ],
)
def test_pattern_matches_scheme_host_and_path_separately(pattern: str, text: str) -> None:
    assert git_url.parse_git_url(text, EVERY, [git_url.RepoPattern.parse(pattern)]).protocol


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("https://*.acme.example/*", "https://evil.example/x.acme.example/shop"),
        ("https://*.acme.example/*", "https://evil.example:443/.acme.example/shop"),
        ("https://github.com/acme/*", "https://github.com.evil.example/acme/shop"),
        ("https://github.com/acme/*", "https://github.com@evil.example/acme/shop"),
        ("https://github.com/acme/*", "http://github.com/acme/shop"),
        ("https://github.com/acme/*", "https://github.com:8443/acme/shop"),
        ("https://github.com/acme/*", "https://github.com/acme"),
        ("https://github.com*", "https://github.com.evil.example/x"),
        ("*//github.com/acme/*", "https://evil.example//github.com/acme/x"),
        ("git@github.com:acme/*", "https://github.com/acme/shop"),
        ("github.com/acme/*", "http://github.com/acme/shop"),
        ("https://github.com/ACME/shop", "https://github.com/acme/shop"),
        ("/srv/git/*", "https://srv/git/shop"),
        ("github.com/*", "/srv/github.com/x"),
    ],
)
def test_pattern_cannot_be_satisfied_from_another_part_of_the_url(pattern: str, text: str) -> None:
    try:
        parsed = git_url.RepoPattern.parse(pattern)
    except SettingsError:
        return  # not a pattern at all
    with pytest.raises(TaskFailedError, match="does not work on"):
        git_url.parse_git_url(text, EVERY, [parsed])


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "https://",
        "https:///x",
        "*//x/y",
        "https://github.com*",
        "https://a.*.example/*",
        "ftp://a.example/*",
        "https://a.example:x/*",
        "a b",
    ],
)
def test_invalid_pattern_is_rejected(pattern: str) -> None:
    with pytest.raises(SettingsError, match="--allow-repo"):
        git_url.RepoPattern.parse(pattern)


@pytest.mark.parametrize(
    "host",
    [
        "any.localhost", "LOCALHOST.",
        "127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
        "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[::127.0.0.1]", "224.0.0.1",
        "0.0.0.0", "2130706433", "0x7f.1", "127.1",  # noqa: S104  # an address to refuse
    ],
)  # fmt: skip
def test_private_address_is_refused_without_patterns(host: str) -> None:
    for text in (f"https://{host}/acme/shop", f"ssh://git@{host}/acme/shop"):
        with pytest.raises(TaskFailedError, match=r"private.*--allow-repo"):
            git_url.check_address(git_url.parse_git_url(text, EVERY))


def test_public_address_and_unknown_host_are_not_refused() -> None:
    for text in ("https://8.8.8.8/acme/shop", "https://[2606:4700::1111]/x", "/srv/git/x", "work-alias:acme/shop"):
        git_url.check_address(git_url.parse_git_url(text, EVERY))


@pytest.mark.parametrize(
    ("address", "on_host"),
    [
        ("https://github.com/acme/shop/pull/1", True),
        ("https://GITHUB.com/acme/shop/pull/1", True),
        ("http://github.com/acme/shop/pull/1", False),
        ("https://github.com.evil.example/pull/1", False),
        ("https://evil.example/github.com", False),
        ("https://me@github.com/pull/1", False),
        ("https://github.com@evil.example/pull/1", False),
        ("javascript:alert(1)//github.com", False),
        ("https://github.com/pull/1\n", False),
        ("https://github.com/\x1b[2J", False),
        ("https://github.com/a b", False),
        ("https://[::1/x", False),
        ("", False),
    ],
)
def test_pull_request_is_on_the_host_of_the_repository(address: str, *, on_host: bool) -> None:
    for text in ("https://github.com/acme/shop", "git@github.com:acme/shop.git"):
        assert git_url.is_on_host(address, git_url.parse_git_url(text)) == on_host
    assert not git_url.is_on_host(address, git_url.parse_git_url("/srv/git/x", EVERY))


def test_host_is_refused_if_one_of_its_addresses_is_private() -> None:
    def resolve(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("10.0.0.7", 443))]

    with pytest.raises(TaskFailedError, match="private"):
        git_url.check_address(git_url.parse_git_url("https://git.example/x"), resolve)


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
