"""A task's own clone: made for one attempt, changed by its engine, looked at by git, and removed."""

from dataclasses import dataclass
from pathlib import Path

from devflow import git_url
from devflow.task_assignment import TaskAssignment
from devflow.errors import TaskFailedError
from devflow.private_files import make_private_directory, remove_tree
from devflow.git import Git

_LINK = "120000"
"""The mode of a symbolic link, as git has it."""
_AUTHOR = ("DevFlow agent", "agent@devflow.invalid")


@dataclass(frozen=True)
class CommittedChange:
    """What an engine has done to a repository."""

    commit: str
    files: list[str]


class Workspace:
    """`directory` has `repo`, the clone, and beside it what is not the engine's."""

    def __init__(self, directory: Path, git: Git, command: TaskAssignment) -> None:
        self.directory, self.repo = directory, git.directory
        self._git, self._task = git, command
        self._git_config = b""
        self._base_commit = ""

    @property
    def branch(self) -> str:
        """What is pushed. It carries the attempt: a run that was given up can still push (docs/protocol.md, "Poll")."""
        return f"devflow/{self._task.slug}"

    def clone(self, depth: int | None) -> None:
        """Raises WorkError where the repository cannot be had, DroppedError where the work is to stop."""
        make_private_directory(self.directory)
        wanted = [f"--branch={git_url.check_branch_name(self._task.branch)}"] if self._task.branch else []
        shallow = [f"--depth={depth}"] if depth else []
        self._git.run_remote(
            "Repository clone failed",
            "clone", "--quiet", "--no-checkout", "--template=", "--origin=origin", "--no-recurse-submodules",
            *wanted, *shallow, "--", self._git.origin.url, str(self.repo),
            cwd=self.directory,
        )  # fmt: skip
        if not self._git.succeeds("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
            raise TaskFailedError("The repository has no commit to start from")
        self._git_config = (self.repo / ".git" / "config").read_bytes()
        self._base_commit = self._git.run("rev-parse", "HEAD").strip()
        self._git.run("checkout", "--quiet", "--no-track", "-b", self.branch)
        self._remove_escaping_links()
        self._fetch_pull_request()

    @property
    def base_branch(self) -> str:
        """The branch that it started from."""
        return self._task.branch or self._git.run(
            "symbolic-ref", "--short", "refs/remotes/origin/HEAD"
        ).strip().removeprefix("origin/")

    def commit_changes(self, message: str) -> CommittedChange | None:
        """Commit what the engine left, on top of what it committed itself; None where nothing has changed.

        Raises WorkError where what it left is not a change of what was there before.
        """
        self._restore_git_settings()
        self._git.run("add", "--all")
        if not self._git.succeeds("diff", "--cached", "--quiet", "--no-ext-diff"):
            self._git.run(
                *self._identity(), "commit", "--quiet", "--no-verify", "--cleanup=whitespace", "--file=-", stdin=message
            )
        commit = self._git.run("rev-parse", "HEAD").strip()
        if commit == self._base_commit:
            return None
        if not self._git.succeeds("merge-base", "--is-ancestor", self._base_commit, commit):
            raise TaskFailedError("What the engine left does not build on the branch that it was given")
        names = self._git.run("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", self._base_commit, commit)
        files = [
            name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names.split("\0") if name
        ]
        return CommittedChange(commit, files) if files else None

    def push(self, change: CommittedChange) -> None:
        """Raises WorkError where the platform of the repository refuses it, DroppedError where the work is to stop."""
        self._git.run_remote(
            "The branch cannot be pushed",
            "push", "--quiet", "--no-verify", "--", self._git.origin.url, f"{change.commit}:refs/heads/{self.branch}",
        )  # fmt: skip

    def remove(self) -> None:
        """Remove it with all that is in it; links are removed, not followed."""
        remove_tree(self.directory)

    def _identity(self) -> list[str]:
        """Who commits: as git is set up on this machine, else the agent."""
        if self._git.succeeds("var", "GIT_AUTHOR_IDENT") and self._git.succeeds("config", "user.email"):
            return []
        name, email = _AUTHOR
        return ["-c", f"user.name={name}", "-c", f"user.email={email}"]

    def _remove_escaping_links(self) -> None:
        """Take links that lead out of the clone out of the working tree, so that nothing is written through them.

        They stay in the repository: git is told not to look at these paths.
        """
        out = []
        for entry in self._git.run("ls-files", "--stage", "-z").split("\0"):
            about, _, name = entry.partition("\t")
            if about.startswith(_LINK) and not self._stays_inside(self.repo / name):
                out.append(name)
        if out:
            self._git.run(
                "update-index", "--skip-worktree", "-z", "--stdin", stdin="".join(f"{name}\0" for name in out)
            )
        for name in out:
            (self.repo / name).unlink(missing_ok=True)

    def _stays_inside(self, link: Path) -> bool:
        root = self.repo.resolve()
        try:
            target = link.resolve()
        except (OSError, RuntimeError):  # a loop of links leads nowhere
            return False
        return target.is_relative_to(root) and not target.is_relative_to(root / ".git")

    def _fetch_pull_request(self) -> None:
        """What a review is about, where the host has it: `refs/remotes/origin/pull/N`."""
        number = str(self._task.context.get("prId") or "")
        if not (number.isascii() and number.isdecimal()):
            return
        try:
            wanted = f"refs/pull/{number}/head:refs/remotes/origin/pull/{number}"
            self._git.run_remote("", "fetch", "--quiet", "--no-tags", "--", self._git.origin.url, wanted)
        except TaskFailedError:
            return  # not every host has pull requests under this name, and the engine may do without

    def _restore_git_settings(self) -> None:
        """Put back what tells git how to work here: the engine, or what it ran, may have changed it."""
        git = self.repo / ".git"
        if git.is_symlink() or not git.is_dir():
            raise TaskFailedError("The engine has removed the repository")
        config = git / "config"
        if config.is_symlink() or config.read_bytes() != self._git_config:
            config.unlink()
            config.write_bytes(self._git_config)
        for name in ("config.worktree", "info/attributes"):
            (git / name).unlink(missing_ok=True)
