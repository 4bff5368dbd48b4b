"""chalicelib/core/repo_patterns.py: URLs of repositories, credentials in them, and patterns."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from chalicelib.core import repo_patterns
from devflow import git_url
from devflow.errors import SettingsError, TaskFailedError

EVERY = ("https", "ssh", "http", "git", "file")

MATCHES = [
    ("https://github.com/acme/*", "https://github.com/acme/shop"),
    ("https://github.com/acme/*", "https://GitHub.com/acme/shop.git"),
    ("https://github.com/acme/*", "https://github.com:443/acme/deep/shop"),
    ("https://*.acme.example/*", "https://git.acme.example/shop"),
    ("*://github.com/acme/shop", "ssh://git@github.com/acme/shop.git"),
    ("github.com/acme/*", "https://github.com/acme/shop"),
    ("github.com/acme/*", "git@github.com:acme/shop.git"),
    ("github.com", "https://github.com/any/thing"),
    ("git@github.com:acme/*", "ssh://git@github.com/acme/shop"),
    ("git@github.com:acme/*", "git+ssh://git@github.com/acme/shop"),
    ("https://git.example:8443/*", "https://git.example:8443/shop"),
    ("/srv/git/*", "/srv/git/shop.git"),
    ("file:///srv/git/*", "file:///srv/git/shop.git"),
    ("*", "https://a.example/x"),
    ("*", "https://a.example:8443/x"),
    ("*", "/srv/git/x"),
]
NO_MATCHES = [
    ("https://*.acme.example/*", "https://evil.example/x.acme.example/shop"),
    ("https://*.acme.example/*", "https://evil.example:443/.acme.example/shop"),
    ("https://*.acme.example/*", "https://acme.example/shop"),
    ("https://github.com/acme/*", "https://github.com.evil.example/acme/shop"),
    ("https://github.com/acme/*", "https://github.com@evil.example/acme/shop"),
    ("https://github.com/acme/*", "https://evil.example#github.com/acme/shop"),
    ("https://github.com/acme/*", "http://github.com/acme/shop"),
    ("*.acme.example/*", "ssh://git@evil.example%2f.acme.example/shop"),
    ("https://*.acme.example/*", "https://evil.example%2f.acme.example/shop"),
    ("ssh://*.acme.example/*", "ssh://beef.de%2f.acme.example/shop"),
    ("github.com/*", "ssh://github.com#@evil.example/shop"),
    ("github.com/*", "ssh://github.com?@evil.example/shop"),
    ("github.com/*", "ssh://git%40evil.example%2f@github.com/shop"),
    ("github.com/*", "ssh://git%2540evil.example%252f@github.com/shop"),
    ("https://github.com/acme/*", "https://github.com:8443/acme/shop"),
    ("https://github.com/acme/*", "https://github.com/acme"),
    ("https://github.com/acme/*", "https://github.com/acme/../evil/shop"),
    ("https://github.com/acme/*", "https://github.com/acme/%252e%252e/evil/shop"),
    ("https://github.com/acme/*", "https://github.com/acme2/shop"),
    ("git@github.com:acme/*", "https://github.com/acme/shop"),
    ("github.com/acme/*", "http://github.com/acme/shop"),
    ("https://github.com/ACME/shop", "https://github.com/acme/shop"),
    ("/srv/git/*", "https://srv/git/shop"),
    ("/srv/git/*", "/srv/git/../shop"),
    ("github.com/*", "/srv/github.com/x"),
    ("*", "acme/shop"),
    ("*", ""),
    ("*", "ext::sh -c touch% /tmp/x"),
    ("*", "-oProxyCommand=x:repo"),
    ("*", "git@-oProxyCommand=x:repo"),
    ("*", "ssh://-oProxyCommand=x/repo"),
    ("*", "https://host:99999/repo"),
    ("*", "https://[::1/repo"),
    ("*", "https:///repo"),
    ("*", "http::https://a.example/repo"),
    ("*", "https://a.example\\acme/repo"),
    ("*", "https://a.example/" + "x" * 1024),
]
BAD_PATTERNS = [
    "", "https://", "https:///x", "*//x/y", "https://github.com*", "*//github.com/acme/*", "https://a.*.example/*",
    "ftp://a.example/*", "https://a.example:x/*", "a b", "https://*", "*.*/x", "*/acme/*",
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "repo"), MATCHES)
def test_pattern_matches_scheme_host_and_path_separately(pattern: str, repo: str) -> None:
    assert repo_patterns.matches_any(["https://other.example/x", pattern], repo)


@pytest.mark.parametrize(("pattern", "repo"), NO_MATCHES)
def test_pattern_cannot_be_satisfied_from_another_part_of_the_url(pattern: str, repo: str) -> None:
    assert not repo_patterns.matches_any([pattern], repo)


@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_invalid_pattern_is_rejected_and_matches_nothing_where_stored(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a pattern"):
        repo_patterns.parse_repo_pattern(pattern)
    assert not repo_patterns.matches_any([pattern], "https://github.com/acme/shop")


def test_pattern_with_a_password_is_rejected_without_repeating_it() -> None:
    for pattern in ("https://s3cret@github.com/*", "https://me:s3cret@github.com/acme/*"):
        with pytest.raises(ValueError, match="contains credentials") as raised:
            repo_patterns.parse_repo_pattern(pattern)
        assert "s3cret" not in str(raised.value)


def test_list_of_patterns_is_bounded_and_has_no_repetitions() -> None:
    adapter: Any = TypeAdapter(repo_patterns.RepoPatterns)

    assert adapter.validate_python([" github.com/acme/* ", "*", "github.com/acme/*"]) == ["github.com/acme/*", "*"]
    for bad in (["*"] * 33, ["github.com/" + "x" * 256], ["https://github.com*"], [7]):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)


_urls = st.one_of(
    st.sampled_from([repo for _, repo in [*MATCHES, *NO_MATCHES]]),
    st.from_regex(
        r"(https|ssh|http|git|file|ext)?(://|:|)?(git@|-)?(github\.com|a\.b|-x|)(:[0-9]{1,5})?[/:#?@%.a*2ef-]{0,9}"
    ),
    st.text(alphabet="htps:/@.aG%2e-\\#?[]~ ", max_size=24),
)
_patterns = st.one_of(
    st.sampled_from([pattern for pattern, _ in [*MATCHES, *NO_MATCHES]] + BAD_PATTERNS),
    st.from_regex(r"(\*|https|ssh|git|file)?(://)?(git@)?(\*\.)?(github\.com|a\.b)(:[0-9]{1,5})?[/:a*?\[\]!-]{0,9}"),
    st.text(alphabet="htps:/@.aG*?[!]-", max_size=24),
)


@given(pattern=_patterns, repo=_urls)
@example(pattern="*", repo="https://GİTHUB.com/x")
@example(pattern="*", repo="file::/srv/git/x")
@example(pattern="*", repo="/srv/git::x")
@settings(max_examples=150)
def test_platform_and_agent_agree_on_every_pattern_and_url(pattern: str, repo: str) -> None:
    """An agent that starts with `--allow-repo PATTERN` accepts the same repositories as one with this rule."""
    if repo_patterns.has_credentials(repo) or repo_patterns.has_credentials(pattern):
        return  # the platform rejects both
    try:
        parsed = git_url.RepoPattern.parse(pattern)
    except SettingsError:
        with pytest.raises(ValueError, match="not a pattern"):
            repo_patterns.parse_repo_pattern(pattern)
        return
    try:
        git_url.parse_git_url(repo, EVERY, [parsed])
        is_accepted = True
    except TaskFailedError:
        is_accepted = False
    assert repo_patterns.matches_any([pattern], repo) == is_accepted


@pytest.mark.parametrize(
    "repo",
    [
        "https://github.com/acme/shop", "git@github.com:acme/shop.git", "ssh://git@github.com:2222/acme/shop",
        "git+ssh://git@github.com/acme/shop", "SSH://git@github.com/acme/shop", "github.com:acme/shop", "acme/shop",
        "/srv/git/a@b", "file:///srv/a@b", "https://github.com/acme/shop@v1", "https://github.com/acme?q=a@b",
        "https://github.com/acme#a:b@c", "git@github.com:@scope/shop", "", "./a@b/c", "ssh://@host/x", "https://@host/x",
    ],
)  # fmt: skip
def test_repository_without_credentials_is_recognized(repo: str) -> None:
    assert not repo_patterns.has_credentials(repo)


@pytest.mark.parametrize(
    "repo",
    [
        "https://me:s3cret@github.com/acme/shop", "https://s3cret@github.com/acme/shop", "http://s3cret@host/x",
        "HTTPS://me:s3cret@github.com/acme/shop", "https:/me:s3cret@github.com/x", "https:me:s3cret@github.com/x",
        "https:\\\\me:s3cret@github.com/x", "https:///me:s3cret@github.com/x", "ssh://git:s3cret@github.com/acme/shop", "ssh://git@x:s3cret@host/x",
        "git+ssh://git:s3cret@github.com/x", "git://s3cret@github.com/x", "ftp://me:s3cret@host/x",
        "me:s3cret@github.com/acme/shop", "me:s3cret@github.com:acme/shop", "//me:s3cret@github.com/acme/shop",
        "git::https://me:s3cret@github.com/x", "https://host/?url=https://me:s3cret@github.com/x",
        "https://me:s3@cret@github.com/x", "https://me:@github.com/x", "https://:s3cret@github.com/x",
        "https://me%3As3cret@github.com/x",
    ],
)  # fmt: skip
def test_credentials_are_found_in_every_form_of_url(repo: str) -> None:
    assert repo_patterns.has_credentials(repo)
