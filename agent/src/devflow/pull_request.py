"""Opens a pull request for a pushed branch: with GitHub's own `gh` where it is installed, else with a token.

Whoever has neither gets the branch, which is the work; so nothing here makes a task fail.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from devflow import environment
from devflow.git_url import GitUrl
from devflow.errors import TaskFailedError
from devflow.redaction import redact

TOKEN_VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN")
"""As `gh` has it: the first one that is set."""
_SECONDS = 60.0
_CREATED, _EXISTS = 201, 422


@dataclass(frozen=True)
class PullRequest:
    """What is to be merged where, and what is said of it."""

    head: str
    base: str
    title: str
    body: str


def github_host() -> str:
    """The host of GitHub: github.com, or a company's own (`GITHUB_SERVER_URL`, `GH_HOST`)."""
    given = os.environ.get("GITHUB_SERVER_URL") or f"https://{os.environ.get('GH_HOST') or 'github.com'}"
    return urlsplit(given).hostname or "github.com"


def read_github_tokens() -> dict[str, str]:
    """Tokens by host: for git as well, where nothing else is set up."""
    found = next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), "")
    return {github_host(): found} if found else {}


def open_pull_request(origin: GitUrl, request: PullRequest, cwd: Path) -> str:
    """The address of the pull request. Raises WorkError with the reason where there is none to be had."""
    if origin.host != github_host() or origin.path.count("/") != 1:
        raise TaskFailedError(f"{origin.host or 'this machine'} is not a host on which this agent can open pull requests")
    if program := shutil.which("gh"):
        return _open_with_gh(program, origin, request, cwd)
    if token := read_github_tokens().get(origin.host):
        return _open_with_token(token, origin, request)
    raise TaskFailedError("neither gh nor a GITHUB_TOKEN is here")


def _open_with_gh(program: str, origin: GitUrl, request: PullRequest, cwd: Path) -> str:
    # Each value is part of its flag, and so never a flag itself.
    arguments = [
        f"--repo={origin.host}/{origin.path}", f"--head={request.head}", f"--base={request.base}",
        f"--title={request.title}", "--body-file=-",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            [program, "pr", "create", *arguments],
            cwd=cwd, env=environment.build_child_environment() | {"GH_PROMPT_DISABLED": "1"}, input=request.body, capture_output=True,
            text=True, encoding="utf-8", errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskFailedError(f"gh: {redact(str(error))}") from None
    address = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not address.startswith("https://"):
        raise TaskFailedError(f"gh: {redact(done.stderr.strip()[-500:])}")
    return address


def _open_with_token(token: str, origin: GitUrl, request: PullRequest) -> str:
    url = f"{_api_url(origin.host)}/repos/{quote(origin.path)}/pulls"
    headers = {
        "Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "User-Agent": "devflow",
        "X-GitHub-Api-Version": "2022-11-28",
    }  # fmt: skip
    asked = {"title": request.title, "head": request.head, "base": request.base, "body": request.body}
    pool = urllib3.PoolManager(retries=False, timeout=_SECONDS)
    try:
        answer = pool.request("POST", url, json=asked, headers=headers, redirect=False)
        if answer.status == _EXISTS:  # perhaps an earlier answer was lost
            owner = origin.path.partition("/")[0]
            found = pool.request(
                "GET", url, fields={"head": f"{owner}:{request.head}", "state": "open"}, headers=headers, redirect=False
            ).json()
            if found:
                return str(found[0]["html_url"])
        told = answer.json()
        if answer.status == _CREATED:
            return str(told["html_url"])
        raise TaskFailedError(f"GitHub answered {answer.status}: {told.get('message')}")
    except (HTTPError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TaskFailedError(f"GitHub: {redact(str(error))}") from None
    finally:
        pool.clear()


def _api_url(host: str) -> str:
    given = os.environ.get("GITHUB_API_URL")
    if given:
        return given.rstrip("/")
    return "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
