"""Workspace with real git: clones, commits, pushes, and attacks by a repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from devflow.cancel_token import CancelReason, CancelToken
from devflow.errors import JobCancelledError, TaskFailedError
from devflow.git import Git
from devflow.git_url import parse_git_url
from devflow.task_assignment import TaskAssignment
from devflow.workspace import Workspace


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class Origin:
    """A bare repository with one commit, and a clone that changes it."""

    def __init__(self, directory: Path) -> None:
        self.path, self.clone = directory / "origin.git", directory / "clone"
        git("init", "--quiet", "--bare", str(self.path), cwd=directory)
        git("clone", "--quiet", str(self.path), str(self.clone), cwd=directory)
        self.commit({"login.py": "bug\n"})

    def commit(self, files: dict[str, str]) -> str:
        for name, content in files.items():
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            (self.clone / name).write_text(content, encoding="utf-8")
        git("add", "--all", cwd=self.clone)
        git("commit", "--quiet", "--message=a commit", cwd=self.clone)
        git("push", "--quiet", "origin", "HEAD", cwd=self.clone)
        return git("rev-parse", "HEAD", cwd=self.clone)

    def show(self, what: str) -> str:
        return git("show", what, cwd=self.path)

    def branches(self) -> list[str]:
        return git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=self.path).split()


@pytest.fixture
def origin(tmp_path: Path, machine: Path) -> Origin:
    return Origin(tmp_path)


def make_workspace(origin: Origin, tmp_path: Path, cancel_token: CancelToken | None = None, **task: Any) -> Workspace:
    raw = {"task_id": "task-1", "attempt": 1, "intent": "fix-bug", "repo": str(origin.path), "branch": "main"}
    assignment = TaskAssignment.from_json(raw | {"description": "Fix it", "context": {}} | task)
    directory = tmp_path / "work" / assignment.slug
    url = parse_git_url(assignment.repo, ["file"])
    git = Git(directory / "git", directory / "repo", url, ["file"], cancel_token or CancelToken(), {})
    return Workspace(directory, git, assignment)


def make_clone(origin: Origin, tmp_path: Path, *, depth: int | None = None, **task: Any) -> Workspace:
    if depth:  # git ignores the depth of a local path
        task["repo"] = f"file://{origin.path}"
    workspace = make_workspace(origin, tmp_path, **task)
    workspace.clone(depth)
    return workspace


def test_changes_are_committed_and_pushed_to_the_branch_of_the_attempt(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path, attempt=2)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    (workspace.repo / "new").mkdir()
    (workspace.repo / "new" / "file\nwith a line.txt").touch()

    change = workspace.commit_changes("Fix it\n\n# whole\n\nDevFlow-Task: task-1\n")
    assert change is not None
    workspace.push(change)

    assert sorted(change.files) == ["login.py", "new/file\nwith a line.txt"]
    assert origin.branches() == ["devflow/task-1-attempt-2", "main"]
    assert git("rev-parse", "devflow/task-1-attempt-2", cwd=origin.path) == change.commit
    assert origin.show("devflow/task-1-attempt-2:login.py") == "fixed"
    assert git("log", "-1", "--format=%an <%ae>|%B", change.commit, cwd=origin.path) == (
        "Somebody <somebody@example.com>|Fix it\n\n# whole\n\nDevFlow-Task: task-1"
    )
    workspace.push(change)
    workspace.remove()
    assert not workspace.directory.exists()


def test_commits_of_the_engine_are_kept(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=by the engine", cwd=workspace.repo)
    (workspace.repo / "more.py").touch()

    change = workspace.commit_changes("the rest")

    assert change is not None
    assert sorted(change.files) == ["login.py", "more.py"]
    assert git("log", "--format=%s", change.commit, cwd=workspace.git_directory).splitlines() == [
        "the rest",
        "by the engine",
        "a commit",
    ]


def test_unchanged_clone_has_nothing_to_push(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").touch()
    assert workspace.commit_changes("none") is None


def test_agent_is_the_author_if_git_has_no_identity(
    origin: Origin, tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / ".gitconfig").unlink()
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")

    change = workspace.commit_changes("message")
    assert change is not None
    assert (
        git("log", "-1", "--format=%an <%ae>", change.commit, cwd=workspace.git_directory)
        == "DevFlow agent <agent@devflow.invalid>"
    )


def test_commit_that_does_not_descend_from_the_base_is_rejected(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    git("checkout", "--quiet", "--orphan", "other", cwd=workspace.repo)
    git("commit", "--quiet", "--message=other", cwd=workspace.repo)

    with pytest.raises(TaskFailedError, match="do not build on"):
        workspace.commit_changes("message")


@pytest.mark.parametrize("branch", [None, "main", "topic"])
def test_work_starts_from_the_requested_branch(origin: Origin, tmp_path: Path, branch: str | None) -> None:
    git("checkout", "--quiet", "-b", "topic", cwd=origin.clone)
    origin.commit({"topic.py": ""})

    workspace = make_clone(origin, tmp_path, branch=branch)

    assert (workspace.repo / "topic.py").exists() == (branch == "topic")
    assert workspace.base_branch == (branch or "main")


def test_pull_request_to_review_is_fetched(origin: Origin, tmp_path: Path) -> None:
    commit = origin.commit({"reviewed.py": ""})
    git("update-ref", "refs/pull/456/head", commit, cwd=origin.path)

    workspace = make_clone(origin, tmp_path, intent="review-pr", context={"prId": "456"})
    assert git("rev-parse", "refs/remotes/origin/pull/456", cwd=workspace.repo) == commit

    other = make_clone(origin, tmp_path, intent="review-pr", context={"prId": "457"}, attempt=2)
    assert (other.repo / "login.py").exists(), "a missing pull request does not fail the clone"


def test_missing_or_empty_repository_raises_an_error(origin: Origin, tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = [{"repo": str(tmp_path / "none")}, {"branch": "none"}]
    for task in tasks:
        with pytest.raises(TaskFailedError, match="Repository clone failed") as raised:
            make_clone(origin, tmp_path, **task)
        assert raised.value.details
    git("init", "--quiet", "--bare", "empty.git", cwd=tmp_path)
    with pytest.raises(TaskFailedError, match="no commit"):
        make_clone(origin, tmp_path, repo=str(tmp_path / "empty.git"), branch=None)


def test_cancel_ends_a_clone(origin: Origin, tmp_path: Path) -> None:
    cancel_token = CancelToken()
    cancel_token.cancel(CancelReason.USER_REQUEST, "Cancelled")

    with pytest.raises(JobCancelledError, match="Cancelled"):
        make_workspace(origin, tmp_path, cancel_token).clone(None)


def test_links_out_of_the_clone_are_removed_but_stay_in_the_repository(origin: Origin, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("untouched", encoding="utf-8")
    ways_out = {
        "absolute": str(outside / "kept.txt"), "directory": str(outside), "relative": "../../../outside/kept.txt",
        "through": "directory/kept.txt", "into-git": ".git/config", "not-there": "/nowhere/at/all", "loop": "loop",
        "name\nwith a line": str(outside),
    }  # fmt: skip
    inside = {"link.py": "login.py", "deep/link.py": "../login.py"}
    (origin.clone / "deep").mkdir()
    for name, target in (ways_out | inside).items():
        (origin.clone / name).symlink_to(target)
    origin.commit({})

    workspace = make_clone(origin, tmp_path)

    assert not [name for name in ways_out if (workspace.repo / name).is_symlink()]
    assert all((workspace.repo / name).read_text(encoding="utf-8") == "bug\n" for name in inside)
    (workspace.repo / "absolute").write_text("written by an engine", encoding="utf-8")
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    change = workspace.commit_changes("message")
    assert change is not None
    assert change.files == ["login.py"], "the commit neither removes nor replaces the links"
    assert git("ls-tree", change.commit, "absolute", cwd=workspace.git_directory).startswith("120000")
    assert [path.name for path in outside.iterdir()] == ["kept.txt"]
    assert (outside / "kept.txt").read_text(encoding="utf-8") == "untouched"


def test_code_in_the_git_directory_of_the_clone_does_not_run(origin: Origin, tmp_path: Path) -> None:
    workspace, ran = make_clone(origin, tmp_path), tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {ran}\n", encoding="utf-8")
    evil.chmod(0o755)
    hooks = workspace.repo / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-commit", "commit-msg", "post-commit", "pre-push", "reference-transaction", "post-index-change"):
        (hooks / name).symlink_to(evil)
    for name, value in {
        "core.fsmonitor": str(evil), "core.hooksPath": str(hooks), "core.sshCommand": str(evil),
        "filter.x.clean": str(evil), "diff.external": str(evil), "core.editor": str(evil), "gpg.program": str(evil),
        "commit.gpgSign": "true", "remote.origin.receivepack": str(evil), "url.ext::sh.insteadOf": str(origin.path),
        "core.worktree": "/", "core.attributesFile": str(workspace.repo / "attributes"),
    }.items():  # fmt: skip
        git("config", name, value, cwd=workspace.repo)
    (workspace.repo / ".git" / "info").mkdir(exist_ok=True)
    (workspace.repo / ".git" / "info" / "attributes").write_text("* filter=x diff=x\n", encoding="utf-8")
    (workspace.repo / ".gitattributes").write_text("* filter=x\n", encoding="utf-8")
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")

    change = workspace.commit_changes("message")
    assert change is not None
    workspace.push(change)

    assert not ran.exists()
    assert origin.show("devflow/task-1-attempt-1:login.py") == "fixed"


@pytest.mark.parametrize("how", ["removed", "elsewhere", "a file"])
def test_files_are_committed_if_the_engine_has_removed_its_git_directory(
    origin: Origin, tmp_path: Path, how: str
) -> None:
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / ".git").rename(tmp_path / "moved")
    if how == "elsewhere":
        (workspace.repo / ".git").symlink_to(tmp_path / "moved")
    elif how == "a file":
        (workspace.repo / ".git").write_text(f"gitdir: {tmp_path / 'moved'}\n", encoding="utf-8")
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")

    change = workspace.commit_changes("message")
    assert change is not None
    assert change.files == ["login.py"]


@pytest.mark.parametrize("how", ["removed", "a link"])
def test_missing_clone_raises_an_error(origin: Origin, tmp_path: Path, how: str) -> None:
    workspace = make_clone(origin, tmp_path)
    workspace.repo.rename(tmp_path / "moved")
    if how == "a link":
        workspace.repo.symlink_to(tmp_path / "moved")

    with pytest.raises(TaskFailedError, match="files cannot be read"):
        workspace.commit_changes("message")


def test_removed_link_stays_in_the_repository_after_a_commit_of_the_engine(origin: Origin, tmp_path: Path) -> None:
    (origin.clone / "absolute").symlink_to("/etc/passwd")
    origin.commit({})
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=by the engine", cwd=workspace.repo)

    change = workspace.commit_changes("message")

    assert change is not None
    assert change.files == ["login.py"]


def test_rejected_push_raises_an_error(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    change = workspace.commit_changes("message")
    assert change is not None
    hook = origin.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected branch\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)

    with pytest.raises(TaskFailedError, match="cannot be pushed") as raised:
        workspace.push(change)
    assert "protected branch" in raised.value.details


def test_git_hooks_and_templates_of_the_user_do_not_run(origin: Origin, tmp_path: Path, machine: Path) -> None:
    ran, hooks = tmp_path / "ran", machine / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "pre-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    with (machine / ".gitconfig").open("a", encoding="utf-8") as file:
        file.write(f"[init]\ntemplateDir = {machine / 'template'}\n[core]\nhooksPath = {hooks}\n")

    workspace = make_clone(origin, tmp_path)
    (workspace.repo / "login.py").write_text("fixed\n", encoding="utf-8")
    assert workspace.commit_changes("message") is not None
    assert not ran.exists()
