"""What `--repo` means: an address as it is, or a clone on this machine, whose origin is meant."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from devflow.errors import SettingsError
from devflow.redaction import redact

_GIT_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/@:\s]+@[^/:\s]+:", re.IGNORECASE)
"""`https://…`, `ssh://…`, or git's `user@host:path`."""


@dataclass(frozen=True)
class Repository:
    """A repository that agents can reach, and the branch to start from."""

    url: str
    branch: str | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def resolve(cls, given: str) -> "Repository":
        """Raises SettingsError where it is neither an address nor a clone."""
        if _GIT_URL.match(given):
            return cls(_remove_credentials(given))
        path = Path(given)
        if not path.is_dir():
            raise SettingsError(f"--repo {given!r} is neither an address nor a directory")
        top = _run_git(path, "rev-parse", "--git-dir")
        if top is None:
            raise SettingsError(f"--repo {given!r} is no git repository")
        branch = _run_git(path, "symbolic-ref", "--quiet", "--short", "HEAD")
        bare = _run_git(path, "rev-parse", "--is-bare-repository") == "true"  # is an origin, and whence it came is past
        origin = None if bare else _run_git(path, "remote", "get-url", "origin")
        if origin is None:
            here = str(path.resolve())
            return cls(here, branch, [f"{here} has no origin: only an agent on this machine can reach it"])
        if not _GIT_URL.match(origin):
            origin = str((path / origin).resolve())
        return cls(_remove_credentials(origin), *_find_pushed_branch(path, branch))


def _find_pushed_branch(path: Path, branch: str | None) -> tuple[str | None, list[str]]:
    """The branch, where origin has it, and what an agent will not see of it."""
    if branch is None or _run_git(path, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}") is None:
        return None, ["What is checked out is not at origin; the agent starts from the default branch"]
    ahead = _run_git(path, "rev-list", "--count", f"refs/remotes/origin/{branch}..refs/heads/{branch}")
    dirty = _run_git(path, "status", "--porcelain")
    if ahead not in (None, "0") or dirty:
        return branch, ["What is not pushed the agent does not see"]
    return branch, []


def _remove_credentials(address: str) -> str:
    """The platform shows addresses to people: no password may be in one. Agents have credentials of their own."""
    return re.sub(r"(?<=://)[^/@\s]*:[^/@\s]*@", "", address) if redact(address) != address else address


def _run_git(path: Path, *arguments: str) -> str | None:
    """What git says; None where it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(path), *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise SettingsError("git is not installed") from None
    return done.stdout.strip() if done.returncode == 0 else None
