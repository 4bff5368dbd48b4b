"""Pull requests with gh and with a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse
from devflow import pull_request
from devflow.errors import TaskFailedError
from devflow.git_url import parse_git_url
from devflow.pull_request import PullRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

ORIGIN = parse_git_url("git@github.com:acme/shop.git")
REQUEST = PullRequest("devflow/task-1-attempt-1", "--main", "--title of it\n", "body\n@here")
GH = """#!/bin/sh
printf '%s\\n' "$@" > arguments
cat > body
env > environment
{then}
"""


@pytest.fixture(autouse=True)
def without_gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")


@pytest.fixture
def gh(tmp_path: Path) -> Callable[[str], None]:
    """Return a function that installs a fake gh, which records its arguments and then runs a shell command."""

    def install(then: str) -> None:
        program = tmp_path / "bin" / "gh"
        program.write_text(GH.format(then=then), encoding="utf-8")
        program.chmod(0o755)

    return install


def test_gh_gets_values_as_part_of_flags_and_the_body_on_stdin(
    tmp_path: Path, gh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gh("echo creating; echo https://github.com/acme/shop/pull/7")
    monkeypatch.setenv("DEVFLOW_TOKEN", "secret-token")

    assert pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path) == "https://github.com/acme/shop/pull/7"

    assert (tmp_path / "arguments").read_text(encoding="utf-8").splitlines() == [
        "pr", "create", "--repo=github.com/acme/shop", "--head=devflow/task-1-attempt-1", "--base=--main",
        "--title=--title of it", "", "--body-file=-",
    ]  # fmt: skip
    assert (tmp_path / "body").read_text(encoding="utf-8") == "body\n@here"
    assert "secret-token" not in (tmp_path / "environment").read_text(encoding="utf-8")


@pytest.mark.parametrize("then", ["echo not logged in >&2; exit 4", "echo nothing to see"])
def test_failing_gh_raises_an_error(tmp_path: Path, gh: Callable[[str], None], then: str) -> None:
    gh(then)
    with pytest.raises(TaskFailedError, match="gh: "):
        pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path)


@pytest.fixture
def github(start_platform: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePlatform]:
    """Return a function that starts a fake GitHub API with a token."""

    def start(respond: Callable[[ReceivedRequest], FakeResponse]) -> FakePlatform:
        platform = start_platform(respond)
        monkeypatch.setenv("GITHUB_API_URL", platform.url)
        monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
        return platform

    return start


def test_pull_request_is_opened_with_a_token(tmp_path: Path, github: Callable[..., FakePlatform]) -> None:
    platform = github(lambda _: FakeResponse(201, {"html_url": "https://github.com/acme/shop/pull/7"}))

    assert pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path) == "https://github.com/acme/shop/pull/7"

    (request,) = platform.requests
    assert (request.method, request.path, request.token) == ("POST", "/repos/acme/shop/pulls", "ghp_0123456789")
    assert request.body == {
        "title": REQUEST.title, "head": REQUEST.head, "base": REQUEST.base, "body": REQUEST.body,
    }  # fmt: skip


def test_existing_pull_request_is_found(tmp_path: Path, github: Callable[..., FakePlatform]) -> None:
    there = [{"html_url": "https://github.com/acme/shop/pull/7"}]
    platform = github(
        lambda request: FakeResponse(200, there) if request.method == "GET" else FakeResponse(422, {"message": "no"})
    )

    assert pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path) == "https://github.com/acme/shop/pull/7"
    assert platform.paths()[1] == "GET /repos/acme/shop/pulls?head=acme%3Adevflow%2Ftask-1-attempt-1&state=open"


@pytest.mark.parametrize(
    "response",
    [
        FakeResponse(403, {"message": "Not accessible"}),
        FakeResponse(500, b"<html>"),
        FakeResponse(201, {}),
        FakeResponse(422, []),
    ],
)
def test_error_of_github_does_not_contain_the_token(
    tmp_path: Path, github: Callable[..., FakePlatform], response: FakeResponse
) -> None:
    github(lambda _: response)
    with pytest.raises(TaskFailedError, match="GitHub") as raised:
        pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path)
    assert "ghp_" not in str(raised.value)


@pytest.mark.parametrize("repo", ["https://gitlab.com/acme/shop", "https://github.com/acme/deep/shop", "/srv/shop.git"])
def test_no_token_is_sent_to_another_host(tmp_path: Path, github: Callable[..., FakePlatform], repo: str) -> None:
    platform = github(lambda _: FakeResponse(201, {}))
    with pytest.raises(TaskFailedError, match="cannot open pull requests on"):
        pull_request.open_pull_request(parse_git_url(repo, ["https", "file"]), REQUEST, tmp_path)
    assert platform.requests == []
    assert pull_request.read_github_tokens() == {"github.com": "ghp_0123456789"}


def test_missing_gh_and_token_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match="gh is not installed, and GITHUB_TOKEN is not set"):
        pull_request.open_pull_request(ORIGIN, REQUEST, tmp_path)
    assert pull_request.read_github_tokens() == {}


def test_github_enterprise_has_its_own_api_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.acme.example")
    assert (pull_request.github_host(), pull_request._api_url("git.acme.example")) == (
        "git.acme.example",
        "https://git.acme.example/api/v3",
    )
