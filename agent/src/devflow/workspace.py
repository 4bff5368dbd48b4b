"""The clone of a task: made for one attempt, changed by the engine, committed, pushed and removed.

There are two git directories. The agent's own, `git`, is outside of what the engine can write: the agent commits and
pushes from it. The engine works in `repo`, with a git directory of its own, `repo/.git`, which borrows the objects of
the first. The agent never runs git on the engine's directory. It takes the files and the objects in there as data.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from devflow.engine_commits import import_commits, read_head
from devflow.errors import TaskFailedError
from devflow.git import Git
from devflow.git_url import check_branch_name
from devflow.private_files import make_private_directory, remove_tree
from devflow.task_assignment import TaskAssignment
from devflow.untrusted_files import make_plain

GIT_DIRECTORY, CLONE = "git", "repo"
"""The names of the agent's git directory and of the engine's clone in the directory of an attempt."""
_LINK_MODE = "120000"
"""git's mode of a symbolic link."""
_ATTRIBUTES = "* -filter -diff -merge\n"
"""git runs no filter and no driver, whatever the attributes in the repository and the user's configuration say."""
_DEFAULT_AUTHOR = ("DevFlow agent", "agent@devflow.invalid")


@dataclass(frozen=True)
class CommittedChange:
    """The commit that is pushed, and the files that differ from the base commit."""

    commit: str
    files: list[str]


class Workspace:
    """`directory` contains the clone in `repo`, and next to it files that the engine does not own."""

    def __init__(self, directory: Path, git: Git, task: TaskAssignment) -> None:
        """`git` has the git directory `git` and the working tree `repo` in `directory`."""
        self.directory, self.repo = directory, directory / CLONE
        self._git, self._task = git, task
        self._base_commit = ""
        self._removed_links: list[str] = []
        """The entries of the index, as `git ls-files --stage` prints them, whose links are removed."""

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
            "clone", "--quiet", "--no-hardlinks", "--no-checkout", "--template=", "--origin=origin",
            "--no-recurse-submodules",
            f"--separate-git-dir={self._git.git_directory}",
            *branch, *shallow, "--", self._git.origin.url, str(self.repo),
            cwd=self.directory,
        )  # fmt: skip
        if not self._git.succeeds("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
            raise TaskFailedError("The repository has no commit to start from")
        (self._git.git_directory / "info").mkdir(exist_ok=True)
        (self._git.git_directory / "info" / "attributes").write_text(_ATTRIBUTES, encoding="ascii")
        self._base_commit = self._git.run("rev-parse", "HEAD").strip()
        self._git.run("checkout", "--quiet", "--no-track", "-b", self.branch)
        self._remove_escaping_links()
        self._fetch_pull_request()
        self._make_engines_git_directory()

    @property
    def objects(self) -> Path:
        """The directory of objects that the engine's clone borrows. The engine must be able to read it."""
        return self._git.git_directory / "objects"

    @property
    def git_directory(self) -> Path:
        """The agent's git directory. The engine cannot write it."""
        return self._git.git_directory

    @property
    def base_branch(self) -> str:
        """The branch that the work starts from."""
        return self._task.branch or self._git.run(
            "symbolic-ref", "--short", "refs/remotes/origin/HEAD"
        ).strip().removeprefix("origin/")

    def commit_changes(self, message: str) -> CommittedChange | None:
        """Commit the engine's changes, on top of the engine's own commits. Returns None if nothing has changed.

        Raises TaskFailedError if the result is not a descendant of the base commit, or cannot be read.
        """
        try:
            make_plain(self.repo)
        except OSError as error:
            raise TaskFailedError("The engine's files cannot be read", str(error)[-1_000:]) from None
        head = self._take_engines_commits()
        self._git.run("add", "--all")
        tree, commit = self._git.run("write-tree").strip(), head
        if tree != self._git.run("rev-parse", f"{head}^{{tree}}").strip():
            name, email = self._identity()
            options = ("-c", f"user.name={name}", "-c", f"user.email={email}")
            commit = self._git.run(*options, "commit-tree", tree, "-p", head, "-F", "-", stdin=message).strip()
        if commit == self._base_commit:
            return None
        self._git.run("update-ref", f"refs/heads/{self.branch}", commit)
        names = self._git.run("diff-tree", "-r", "--name-only", "-z", "--no-renames", self._base_commit, commit)
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

    def _identity(self) -> tuple[str, str]:
        """The committer's name and address: as git is configured on this machine, or else the agent's."""
        if self._git.succeeds("config", "user.email") and self._git.succeeds("var", "GIT_AUTHOR_IDENT"):
            name, _, rest = self._git.run("var", "GIT_AUTHOR_IDENT").strip().partition(" <")
            return name, rest.rpartition(">")[0]
        return _DEFAULT_AUTHOR

    def _take_engines_commits(self) -> str:
        """Return the commit that the engine has checked out, after it is in the agent's git directory.

        The base commit is returned if the engine's git directory names none, because the files are the result then.
        """
        head = read_head(self.repo) or self._base_commit
        if head == self._base_commit:
            return head
        import_commits(self.repo, head, self._git, self.directory / "quarantine")
        if not self._git.succeeds("merge-base", "--is-ancestor", self._base_commit, head):
            raise TaskFailedError("The engine's commits do not build on the branch that the task starts from")
        self._git.run("read-tree", head)
        entries = set(self._git.run("ls-files", "--stage", "-z").split("\0"))
        self._skip([entry for entry in self._removed_links if entry in entries])
        return head

    def _make_engines_git_directory(self) -> None:
        """Copy the agent's git directory for the engine, without objects: the copy borrows these."""
        agents, engines = self._git.git_directory, self.repo / ".git"
        engines.unlink()  # a file with the path of the agent's directory, from `git clone`
        shutil.copytree(agents, engines, symlinks=True, ignore=_ignore_objects)
        (engines / "info" / "attributes").unlink()
        for name in ("info", "pack"):
            (engines / "objects" / name).mkdir(parents=True)
        # A relative path, which stays valid if the directory of the attempt is moved.
        alternates = engines / "objects" / "info" / "alternates"
        alternates.write_text(f"../../../{agents.name}/objects\n", encoding="ascii")
        # The engine may commit, but it does not see the configuration of the user.
        name, email = self._identity()
        for key, value in (("user.name", name), ("user.email", email)):
            self._git.run("config", "--file", str(engines / "config"), key, value)

    def _skip(self, entries: list[str]) -> None:
        names = "".join(f"{entry.partition(chr(9))[2]}\0" for entry in entries)
        if names:
            self._git.run("update-index", "--skip-worktree", "-z", "--stdin", stdin=names)

    def _remove_escaping_links(self) -> None:
        """Remove links that lead out of the clone from the working tree, so that the engine cannot write through them.

        The links stay in the repository, because skip-worktree makes git ignore the state of these paths.
        """
        for entry in self._git.run("ls-files", "--stage", "-z").split("\0"):
            attributes, _, name = entry.partition("\t")
            if attributes.startswith(_LINK_MODE) and not self._stays_inside(self.repo / name):
                self._removed_links.append(entry)
        self._skip(self._removed_links)
        for entry in self._removed_links:
            (self.repo / entry.partition("\t")[2]).unlink(missing_ok=True)

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


def _ignore_objects(directory: str, names: list[str]) -> list[str]:
    return ["objects"] if Path(directory).name == GIT_DIRECTORY and "objects" in names else []
