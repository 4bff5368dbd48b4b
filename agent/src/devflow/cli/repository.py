"""Resolves `--repo`: a repository URL, or a clone on this machine, whose origin is used."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from devflow.errors import SettingsError

_GIT_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/@:\s]+@[^/:\s]+:", re.IGNORECASE)
"""`https://…`, `ssh://…`, or git's `user@host:path`."""
_SSH_SCHEMES = ("ssh", "git+ssh", "ssh+git")


@dataclass(frozen=True)
class Repository:
    """A repository that agents can reach, and the branch to start from."""

    url: str
    branch: str | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def resolve(cls, repo: str) -> "Repository":
        """Raises SettingsError if `repo` is neither a URL nor a git repository on this machine."""
        if _GIT_URL.match(repo):
            return cls(_remove_credentials(repo))
        path = Path(repo)
        if not path.is_dir():
            raise SettingsError(f"--repo {repo!r} is neither a URL nor a directory")
        if _run_git(path, "rev-parse", "--git-dir") is None:
            raise SettingsError(f"--repo {repo!r} is not a git repository")
        branch = _run_git(path, "symbolic-ref", "--quiet", "--short", "HEAD")
        # A bare repository is used itself, even if it was cloned from another one.
        bare = _run_git(path, "rev-parse", "--is-bare-repository") == "true"
        origin = None if bare else _run_git(path, "remote", "get-url", "origin")
        if origin is None:
            local = str(path.resolve())
            return cls(local, branch, [f"{local} has no origin: only an agent on this machine can reach it"])
        if not _GIT_URL.match(origin):
            origin = str((path / origin).resolve())
        return cls(_remove_credentials(origin), *_find_pushed_branch(path, branch))


def _find_pushed_branch(path: Path, branch: str | None) -> tuple[str | None, list[str]]:
    """Return the branch if the origin has it, and warnings about local work that the agent cannot see."""
    if branch is None or _run_git(path, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}") is None:
        return None, ["The origin does not have the checked-out branch. The agent starts from the default branch"]
    ahead = _run_git(path, "rev-list", "--count", f"refs/remotes/origin/{branch}..refs/heads/{branch}")
    dirty = _run_git(path, "status", "--porcelain")
    if ahead not in (None, "0") or dirty:
        return branch, ["There are local changes that are not pushed. The agent does not see them"]
    return branch, []


def _remove_credentials(url: str) -> str:
    """Remove user and password, because the platform shows the URL to people. Agents have their own credentials.

    The user of http is removed even without a password: it may be a token. ssh needs its user, which is often `git`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    user = userinfo.partition(":")[0]
    kept = f"{user}@" if at and user and scheme.lower() in _SSH_SCHEMES else ""
    return f"{scheme}://{kept}{host}{slash}{path}"


def _run_git(path: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails."""
    try:
        completed = subprocess.run(
            ["git", "-C", str(path), *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise SettingsError("git is not installed") from None
    return completed.stdout.strip() if completed.returncode == 0 else None
