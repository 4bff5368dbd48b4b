"""The clone of a task: made for one attempt, changed by the engine, committed, pushed and removed."""

from dataclasses import dataclass
from pathlib import Path

from devflow.errors import TaskFailedError
from devflow.git import Git
from devflow.git_url import check_branch_name
from devflow.private_files import make_private_directory, remove_tree
from devflow.task_assignment import TaskAssignment

_LINK_MODE = "120000"
"""git's mode of a symbolic link."""
_DEFAULT_AUTHOR = ("DevFlow agent", "agent@devflow.invalid")


@dataclass(frozen=True)
class CommittedChange:
    """The commit that is pushed, and the files that differ from the base commit."""

    commit: str
    files: list[str]


class Workspace:
    """`directory` contains the clone in `repo`, and next to it files that the engine does not own."""

    def __init__(self, directory: Path, git: Git, task: TaskAssignment) -> None:
        self.directory, self.repo = directory, git.directory
        self._git, self._task = git, task
        self._git_config = b""
        self._base_commit = ""

    @property
    def branch(self) -> str:
        """The branch to push. Its name contains the attempt, because an abandoned attempt may still push.

        See docs/protocol.md, "Poll".
        """
        return f"devflow/{self._task.slug}"

    def clone(self, depth: int | None) -> None:
        """Clone the repository and create the branch. `depth` is the number of commits; None fetches all.

        Raises TaskFailedError if the repository cannot be cloned, and JobCancelledError if the job is cancelled.
        """
        make_private_directory(self.directory)
        branch = [f"--branch={check_branch_name(self._task.branch)}"] if self._task.branch else []
        shallow = [f"--depth={depth}"] if depth else []
        self._git.run_remote(
            "Repository clone failed",
            "clone", "--quiet", "--no-checkout", "--template=", "--origin=origin", "--no-recurse-submodules",
            *branch, *shallow, "--", self._git.origin.url, str(self.repo),
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
        """The branch that the work starts from."""
        return self._task.branch or self._git.run(
            "symbolic-ref", "--short", "refs/remotes/origin/HEAD"
        ).strip().removeprefix("origin/")

    def commit_changes(self, message: str) -> CommittedChange | None:
        """Commit the engine's changes, on top of the engine's own commits. Returns None if nothing has changed.

        Raises TaskFailedError if the result is not a descendant of the base commit.
        """
        self._restore_git_settings()
        self._git.run("add", "--all")
        if not self._git.succeeds("diff", "--cached", "--quiet", "--no-ext-diff"):
            self._git.run(
                *self._identity_options(), "commit", "--quiet", "--no-verify", "--cleanup=whitespace", "--file=-",
                stdin=message,
            )  # fmt: skip
        commit = self._git.run("rev-parse", "HEAD").strip()
        if commit == self._base_commit:
            return None
        if not self._git.succeeds("merge-base", "--is-ancestor", self._base_commit, commit):
            raise TaskFailedError("The engine's commits do not build on the branch that the task starts from")
        names = self._git.run("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", self._base_commit, commit)
        files = [
            name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names.split("\0") if name
        ]
        return CommittedChange(commit, files) if files else None

    def push(self, change: CommittedChange) -> None:
        """Raises TaskFailedError if the repository's host rejects it, and JobCancelledError if the job is cancelled."""
        self._git.run_remote(
            "The branch cannot be pushed",
            "push", "--quiet", "--no-verify", "--", self._git.origin.url, f"{change.commit}:refs/heads/{self.branch}",
        )  # fmt: skip

    def remove(self) -> None:
        """Remove the workspace. Symbolic links are removed and not followed."""
        remove_tree(self.directory)

    def _identity_options(self) -> list[str]:
        """The committer: the identity that git is configured with on this machine, or else the agent."""
        if self._git.succeeds("var", "GIT_AUTHOR_IDENT") and self._git.succeeds("config", "user.email"):
            return []
        name, email = _DEFAULT_AUTHOR
        return ["-c", f"user.name={name}", "-c", f"user.email={email}"]

    def _remove_escaping_links(self) -> None:
        """Remove links that lead out of the clone from the working tree, so that the engine cannot write through them.

        The links stay in the repository, because skip-worktree makes git ignore the state of these paths.
        """
        escaping = []
        for entry in self._git.run("ls-files", "--stage", "-z").split("\0"):
            attributes, _, name = entry.partition("\t")
            if attributes.startswith(_LINK_MODE) and not self._stays_inside(self.repo / name):
                escaping.append(name)
        if escaping:
            self._git.run(
                "update-index", "--skip-worktree", "-z", "--stdin", stdin="".join(f"{name}\0" for name in escaping)
            )
        for name in escaping:
            (self.repo / name).unlink(missing_ok=True)

    def _stays_inside(self, link: Path) -> bool:
        root = self.repo.resolve()
        try:
            target = link.resolve(strict=True)
        except FileNotFoundError:  # the link leads to nothing, or to nothing yet
            target = link.resolve()
        except (OSError, RuntimeError):  # a loop of links; only with `strict`, Python 3.13 reports it as well
            return False
        return target.is_relative_to(root) and not target.is_relative_to(root / ".git")

    def _fetch_pull_request(self) -> None:
        """Fetch the pull request that a review is about to `refs/remotes/origin/pull/N`, if the host provides it."""
        number = str(self._task.context.get("prId") or "")
        if not (number.isascii() and number.isdecimal()):
            return
        try:
            refspec = f"refs/pull/{number}/head:refs/remotes/origin/pull/{number}"
            self._git.run_remote("", "fetch", "--quiet", "--no-tags", "--", self._git.origin.url, refspec)
        except TaskFailedError:
            return  # not every host has pull requests under this name, and the engine may not need the commits

    def _restore_git_settings(self) -> None:
        """Restore the settings of the clone, because the engine or its programs may have changed them."""
        git = self.repo / ".git"
        if git.is_symlink() or not git.is_dir():
            raise TaskFailedError("The engine has removed the repository")
        config = git / "config"
        if config.is_symlink() or config.read_bytes() != self._git_config:
            config.unlink()
            config.write_bytes(self._git_config)
        for name in ("config.worktree", "info/attributes"):
            (git / name).unlink(missing_ok=True)
