"""Pull requests: by gh where it is installed, else by a token; never at the cost of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.tests.support.standin import Answer
from devflow import pullrequests
from devflow.addresses import address
from devflow.errors import WorkError
from devflow.pullrequests import PullRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.standin import Platform, Request

ORIGIN = address("git@github.com:acme/shop.git")
ASKED = PullRequest("devflow/task-1-attempt-1", "--main", "--title of it\n", "body\n@here")
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
    """Installs a stand-in for gh, which keeps what it was given and then does as it is told."""

    def install(then: str) -> None:
        program = tmp_path / "bin" / "gh"
        program.write_text(GH.format(then=then), encoding="utf-8")
        program.chmod(0o755)

    return install


def test_gh_gets_each_value_as_part_of_its_flag_and_the_text_on_its_input(
    tmp_path: Path, gh: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gh("echo creating; echo https://github.com/acme/shop/pull/7")
    monkeypatch.setenv("DEVFLOW_TOKEN", "secret-token")

    assert pullrequests.open_for(ORIGIN, ASKED, tmp_path) == "https://github.com/acme/shop/pull/7"

    assert (tmp_path / "arguments").read_text(encoding="utf-8").splitlines() == [
        "pr", "create", "--repo=github.com/acme/shop", "--head=devflow/task-1-attempt-1", "--base=--main",
        "--title=--title of it", "", "--body-file=-",
    ]  # fmt: skip
    assert (tmp_path / "body").read_text(encoding="utf-8") == "body\n@here"
    assert "secret-token" not in (tmp_path / "environment").read_text(encoding="utf-8")


@pytest.mark.parametrize("then", ["echo not logged in >&2; exit 4", "echo nothing to see"])
def test_a_gh_that_cannot_is_said(tmp_path: Path, gh: Callable[[str], None], then: str) -> None:
    gh(then)
    with pytest.raises(WorkError, match="gh: "):
        pullrequests.open_for(ORIGIN, ASKED, tmp_path)


@pytest.fixture
def github(standin: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Platform]:
    """GitHub's API, and a token for it."""

    def start(answer: Callable[[Request], Answer]) -> Platform:
        platform = standin(answer)
        monkeypatch.setenv("GITHUB_API_URL", platform.url)
        monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
        return platform

    return start


def test_a_token_opens_it_by_the_api(tmp_path: Path, github: Callable[..., Platform]) -> None:
    platform = github(lambda _: Answer(201, {"html_url": "https://github.com/acme/shop/pull/7"}))

    assert pullrequests.open_for(ORIGIN, ASKED, tmp_path) == "https://github.com/acme/shop/pull/7"

    (request,) = platform.requests
    assert (request.method, request.path, request.token) == ("POST", "/repos/acme/shop/pulls", "ghp_0123456789")
    assert request.body == {
        "title": ASKED.title, "head": ASKED.head, "base": ASKED.base, "body": ASKED.body,
    }  # fmt: skip


def test_one_that_is_open_already_is_found(tmp_path: Path, github: Callable[..., Platform]) -> None:
    there = [{"html_url": "https://github.com/acme/shop/pull/7"}]
    platform = github(lambda request: Answer(200, there) if request.method == "GET" else Answer(422, {"message": "no"}))

    assert pullrequests.open_for(ORIGIN, ASKED, tmp_path) == "https://github.com/acme/shop/pull/7"
    assert platform.paths()[1] == "GET /repos/acme/shop/pulls?head=acme%3Adevflow%2Ftask-1-attempt-1&state=open"


@pytest.mark.parametrize(
    "answer",
    [Answer(403, {"message": "Not accessible"}), Answer(500, b"<html>"), Answer(201, {}), Answer(422, [])],
)
def test_what_github_refuses_is_said_without_the_token(
    tmp_path: Path, github: Callable[..., Platform], answer: Answer
) -> None:
    github(lambda _: answer)
    with pytest.raises(WorkError, match="GitHub") as raised:
        pullrequests.open_for(ORIGIN, ASKED, tmp_path)
    assert "ghp_" not in str(raised.value)


@pytest.mark.parametrize("repo", ["https://gitlab.com/acme/shop", "https://github.com/acme/deep/shop", "/srv/shop.git"])
def test_elsewhere_there_is_none_and_no_token_goes_there(
    tmp_path: Path, github: Callable[..., Platform], repo: str
) -> None:
    platform = github(lambda _: Answer(201, {}))
    with pytest.raises(WorkError, match="not a host"):
        pullrequests.open_for(address(repo, ["https", "file"]), ASKED, tmp_path)
    assert platform.requests == []
    assert pullrequests.tokens() == {"github.com": "ghp_0123456789"}


def test_with_neither_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="neither gh nor a GITHUB_TOKEN"):
        pullrequests.open_for(ORIGIN, ASKED, tmp_path)
    assert pullrequests.tokens() == {}


def test_a_companys_own_github_has_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.acme.example")
    assert (pullrequests.server(), pullrequests._api("git.acme.example")) == (
        "git.acme.example",
        "https://git.acme.example/api/v3",
    )
