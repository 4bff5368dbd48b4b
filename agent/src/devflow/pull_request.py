"""Opens a pull request for a pushed branch, with GitHub's `gh` if it is installed, or else with a token.

Without `gh` and a token there is only the branch, which contains the work. So a task never fails here.
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

from devflow.environment import build_child_environment
from devflow.errors import TaskFailedError
from devflow.git_url import GitUrl
from devflow.redaction import redact

TOKEN_VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN")
"""The first one that is set counts, as in `gh`."""
_TIMEOUT_SECONDS = 60.0
_CREATED, _UNPROCESSABLE = 201, 422


@dataclass(frozen=True)
class PullRequest:
    """The branches, the title and the description of a pull request."""

    head: str
    base: str
    title: str
    body: str


def github_host() -> str:
    """Return the host name of GitHub: github.com, or a company's server (`GITHUB_SERVER_URL`, `GH_HOST`)."""
    url = os.environ.get("GITHUB_SERVER_URL") or f"https://{os.environ.get('GH_HOST') or 'github.com'}"
    return urlsplit(url).hostname or "github.com"


def read_github_tokens() -> dict[str, str]:
    """Return the token by host name. git uses it as well, if no other credentials are set up."""
    token = next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), "")
    return {github_host(): token} if token else {}


def open_pull_request(origin: GitUrl, request: PullRequest, cwd: Path) -> str:
    """Open a pull request and return its URL. Raises TaskFailedError with the reason if that is not possible.

    `cwd` must not be a directory that the engine can write: `gh` has a token, and runs git in there.
    """
    if origin.host != github_host() or origin.path.count("/") != 1:
        raise TaskFailedError(f"this agent cannot open pull requests on {origin.host or 'this machine'}")
    if program := shutil.which("gh"):
        return _open_with_gh(program, origin, request, cwd)
    if token := read_github_tokens().get(origin.host):
        return _open_with_token(token, origin, request)
    raise TaskFailedError("gh is not installed, and GITHUB_TOKEN is not set")


def _open_with_gh(program: str, origin: GitUrl, request: PullRequest, cwd: Path) -> str:
    # Each value is part of its flag, so that a value can never be taken for another flag.
    arguments = [
        f"--repo={origin.host}/{origin.path}", f"--head={request.head}", f"--base={request.base}",
        f"--title={request.title}", "--body-file=-",
    ]  # fmt: skip
    try:
        completed = subprocess.run(
            [program, "pr", "create", *arguments],
            cwd=cwd, env=build_child_environment() | {"GH_PROMPT_DISABLED": "1"}, input=request.body,
            capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskFailedError(f"gh: {redact(str(error))}") from None
    url = completed.stdout.strip().rpartition("\n")[2]
    if completed.returncode != 0 or not url.startswith("https://"):
        raise TaskFailedError(f"gh: {redact(completed.stderr.strip()[-500:])}")
    return url


def _open_with_token(token: str, origin: GitUrl, request: PullRequest) -> str:
    url = f"{_api_url(origin.host)}/repos/{quote(origin.path)}/pulls"
    headers = {
        "Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "User-Agent": "devflow",
        "X-GitHub-Api-Version": "2022-11-28",
    }  # fmt: skip
    body = {"title": request.title, "head": request.head, "base": request.base, "body": request.body}
    pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_SECONDS)
    try:
        response = pool.request("POST", url, json=body, headers=headers, redirect=False)
        if response.status == _UNPROCESSABLE:  # the pull request may exist, if an earlier response was lost
            owner = origin.path.partition("/")[0]
            existing = pool.request(
                "GET", url, fields={"head": f"{owner}:{request.head}", "state": "open"}, headers=headers, redirect=False
            ).json()
            if existing:
                return str(existing[0]["html_url"])
        content = response.json()
        if response.status == _CREATED:
            return str(content["html_url"])
        raise TaskFailedError(f"GitHub responded with status {response.status}: {content.get('message')}")
    except (HTTPError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TaskFailedError(f"GitHub: {redact(str(error))}") from None
    finally:
        pool.clear()


def _api_url(host: str) -> str:
    url = os.environ.get("GITHUB_API_URL")
    if url:
        return url.rstrip("/")
    return "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
