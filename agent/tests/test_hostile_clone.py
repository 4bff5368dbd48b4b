"""What an engine may write into its clone: nothing of it is read as git configuration, runs, blocks or is pushed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.tests.test_workspace import Origin, git, make_clone
from devflow import git as git_module
from devflow.errors import TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devflow.workspace import CommittedChange, Workspace

SECONDS = 60


class Trap:
    """A program that must not run. It records the environment in which it was started."""

    def __init__(self, directory: Path) -> None:
        self.ran = directory / "ran"
        self.path = directory / "trap.sh"
        self.path.write_text(f"#!/bin/sh\nenv > {self.ran}\ncat\n", encoding="utf-8")
        self.path.chmod(0o755)


@pytest.fixture
def origin(tmp_path: Path, machine: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
    return Trap(tmp_path)


@contextmanager
def limited_time(seconds: int = SECONDS) -> Iterator[None]:
    """Fail the test if it blocks."""

    def on_alarm(*_: object) -> None:
        raise AssertionError(f"blocked for {seconds} s")

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def write(root: Path, files: dict[str, str]) -> None:
    """Write text files, as an engine can that may use no other tool."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")


def commit_and_push(workspace: Workspace) -> CommittedChange | None:
    with limited_time():
        change = workspace.commit_changes("message")
    if change is not None:
        workspace.push(change)
    return change


def second_directory(trap: Trap, elsewhere: Path, origin: Origin) -> dict[str, str]:
    """A complete git directory in text files: what `commondir` or a `.git` file may lead to."""
    config = (
        f'[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {trap.path}\n[filter "x"]\n\tclean = {trap.path}\n'
        f'\tsmudge = {trap.path}\n[diff "x"]\n\ttextconv = {trap.path}\n'
        f'[url "{elsewhere}"]\n\tinsteadOf = {origin.path}\n'
        f"\tpushInsteadOf = {origin.path}\n"
    )
    return {
        "config": config, "info/attributes": "* filter=x diff=x\n", "HEAD": "ref: refs/heads/main\n",
        "objects/info/alternates": f"{origin.path}/objects\n", "refs/heads/x": "0" * 40 + "\n",
    }  # fmt: skip


def test_second_directory_of_text_files_runs_nothing_and_redirects_no_push(
    origin: Origin, tmp_path: Path, trap: Trap
) -> None:
    workspace, elsewhere = make_clone(origin, tmp_path), tmp_path / "elsewhere.git"
    git("init", "--quiet", "--bare", str(elsewhere), cwd=tmp_path)
    files = second_directory(trap, elsewhere, origin)
    write(workspace.repo, {f"common/{name}": content for name, content in files.items()})
    commit = git("rev-parse", "HEAD", cwd=workspace.repo)
    write(workspace.repo, {"common/refs/heads/devflow/task-1-attempt-1": commit})
    write(workspace.repo, {".git/commondir": "../common\n", "login.py": "fixed\n"})

    change = commit_and_push(workspace)

    assert not trap.ran.exists()
    assert git("for-each-ref", cwd=elsewhere) == ""
    assert change is not None
    assert origin.show("devflow/task-1-attempt-1:login.py") == "fixed"


def test_git_file_that_leads_to_another_directory_is_ignored(origin: Origin, tmp_path: Path, trap: Trap) -> None:
    workspace, elsewhere = make_clone(origin, tmp_path), tmp_path / "elsewhere.git"
    git("init", "--quiet", "--bare", str(elsewhere), cwd=tmp_path)
    files = second_directory(trap, elsewhere, origin)
    write(workspace.repo, {f"other/{name}": content for name, content in files.items()})
    shutil.rmtree(workspace.repo / ".git")
    write(workspace.repo, {".git": "gitdir: other\n", "login.py": "fixed\n"})

    assert commit_and_push(workspace) is not None
    assert not trap.ran.exists()
    assert git("for-each-ref", cwd=elsewhere) == ""
    assert origin.show("devflow/task-1-attempt-1:login.py") == "fixed"


@pytest.mark.parametrize(
    "paths",
    [
        [".git/config", ".git/index", ".git/commondir", ".git/packed-refs", ".git/info/attributes", ".git/shallow"],
        [".git/HEAD", ".git/objects/info/alternates", ".git/refs/heads/x", ".gitmodules", "src/.gitignore", "login.py"],
        [".git/refs/heads/devflow/task-1-attempt-1", ".gitattributes", ".gitignore", "nested/.git/HEAD", "other/.git"],
    ],
)
def test_named_pipe_blocks_nothing(origin: Origin, tmp_path: Path, paths: list[str]) -> None:
    workspace = make_clone(origin, tmp_path)
    for path in paths:
        pipe = workspace.repo / path
        pipe.parent.mkdir(parents=True, exist_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    write(workspace.repo, {"more.py": "new\n"})

    with limited_time():
        change = workspace.commit_changes("message")

    assert change is not None
    assert set(change.files) <= {"more.py", "login.py"}
    assert "more.py" in change.files


def test_submodule_directory_of_the_engine_runs_nothing(origin: Origin, tmp_path: Path, trap: Trap) -> None:
    """`git add` runs `git status` in the directories of submodules, which has a configuration of its own."""
    commit = git("rev-parse", "HEAD", cwd=origin.clone)
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub", cwd=origin.clone)
    write(origin.clone, {".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n\tignore = none\n'})
    git("add", ".gitmodules", cwd=origin.clone)
    git("commit", "--quiet", "--message=a submodule", cwd=origin.clone)
    git("push", "--quiet", "origin", "HEAD", cwd=origin.clone)
    workspace = make_clone(origin, tmp_path)
    sub = workspace.repo / "sub"
    git("clone", "--quiet", str(origin.path), str(sub), cwd=tmp_path)
    git("checkout", "--quiet", commit, cwd=sub)
    for name in ("core.fsmonitor", "filter.x.clean", "core.sshCommand"):
        git("config", name, str(trap.path), cwd=sub)
    write(sub, {".git/info/attributes": "* filter=x\n", "login.py": "gub\n"})  # the same size: git must read it
    write(workspace.repo, {"login.py": "fixed\n"})
    write(workspace.repo, {".gitmodules": '[submodule "sub"]\n\tpath = sub\n\tupdate = !touch ran\n\tignore = none\n'})

    change = commit_and_push(workspace)

    assert not trap.ran.exists()
    assert change is not None
    assert sorted(change.files) == [".gitmodules", "login.py"]


def test_files_of_a_nested_repository_are_committed_as_files(origin: Origin, tmp_path: Path, trap: Trap) -> None:
    workspace = make_clone(origin, tmp_path)
    nested = workspace.repo / "app"
    git("init", "--quiet", str(nested), cwd=tmp_path)
    git("config", "core.fsmonitor", str(trap.path), cwd=nested)
    write(nested, {"main.py": "new\n"})
    git("-c", "core.fsmonitor=false", "add", "--all", cwd=nested)
    git("-c", "core.fsmonitor=false", "commit", "--quiet", "--message=nested", cwd=nested)

    change = commit_and_push(workspace)

    assert change is not None
    assert change.files == ["app/main.py"]
    assert origin.show("devflow/task-1-attempt-1:app/main.py") == "new"
    assert not trap.ran.exists()


def test_filters_of_the_user_such_as_git_lfs_do_not_run(
    origin: Origin, tmp_path: Path, machine: Path, trap: Trap
) -> None:
    origin.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": "pointer\n"})
    with (machine / ".gitconfig").open("a", encoding="utf-8") as file:
        file.write(f'[filter "lfs"]\n\tclean = {trap.path}\n\tsmudge = {trap.path}\n\trequired = true\n')

    workspace = make_clone(origin, tmp_path)
    assert (workspace.repo / "model.bin").read_text(encoding="utf-8") == "pointer\n"
    write(workspace.repo, {"model.bin": "other\n", "sub/.gitattributes": "* filter=lfs\n", "sub/x": "x\n"})
    change = commit_and_push(workspace)

    assert not trap.ran.exists()
    assert change is not None
    assert origin.show("devflow/task-1-attempt-1:model.bin") == "other"


def test_objects_of_another_repository_are_not_pushed(origin: Origin, tmp_path: Path) -> None:
    """`alternates` leads to a private repository of this machine, and HEAD to a commit that contains its file."""
    private = tmp_path / "private"
    git("clone", "--quiet", str(origin.path), str(private), cwd=tmp_path)
    write(private, {"secret.txt": "s3cret-word\n"})
    git("add", "--all", cwd=private)
    git("commit", "--quiet", "--message=private", cwd=private)
    commit = git("rev-parse", "HEAD", cwd=private)
    workspace = make_clone(origin, tmp_path)
    write(
        workspace.repo,
        {".git/objects/info/alternates": f"{private}/.git/objects\n", ".git/HEAD": f"{commit}\n", "login.py": "x\n"},
    )

    with pytest.raises(TaskFailedError, match="commits"):
        commit_and_push(workspace)
    found = subprocess.run(
        ["git", "cat-file", "-e", commit], cwd=workspace.directory / "git", capture_output=True, check=False
    )
    assert found.returncode != 0, "the object is not in the directory that the agent pushes from"
    assert origin.branches() == ["main"]


def test_objects_behind_a_symbolic_link_are_not_read(origin: Origin, tmp_path: Path) -> None:
    private = tmp_path / "private"
    git("clone", "--quiet", str(origin.path), str(private), cwd=tmp_path)
    write(private, {"secret.txt": "s3cret-word\n"})
    git("add", "--all", cwd=private)
    git("commit", "--quiet", "--message=private", cwd=private)
    commit = git("rev-parse", "HEAD", cwd=private)
    for link in ("objects", f"objects/{commit[:2]}", f"objects/{commit[:2]}/{commit[2:]}"):
        workspace = make_clone(origin, tmp_path, attempt=len(link))
        place = workspace.repo / ".git" / link
        if link == "objects":
            shutil.rmtree(place)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(private / ".git" / link)
        write(workspace.repo, {".git/HEAD": f"{commit}\n", "login.py": "x\n"})

        with pytest.raises(TaskFailedError, match="commits"):
            commit_and_push(workspace)
    assert origin.branches() == ["main"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("depth", [None, 1])
def test_commits_of_the_engine_are_pushed_as_they_are(
    origin: Origin, tmp_path: Path, *, packed: bool, depth: int | None
) -> None:
    origin.commit({"second.py": ""})
    workspace = make_clone(origin, tmp_path, depth=depth)
    write(workspace.repo, {"login.py": "fixed\n"})
    git("commit", "--quiet", "--all", "--message=by the engine", cwd=workspace.repo)
    git("checkout", "--quiet", "-b", "another/name", cwd=workspace.repo)
    write(workspace.repo, {"more.py": "more\n"})
    git("add", "--all", cwd=workspace.repo)
    git("commit", "--quiet", "--message=also by the engine", cwd=workspace.repo)
    head = git("rev-parse", "HEAD", cwd=workspace.repo)
    if packed:
        git("gc", "--quiet", cwd=workspace.repo)
        assert not (workspace.repo / ".git/refs/heads/another/name").exists()

    change = commit_and_push(workspace)

    assert change is not None
    assert (change.commit, sorted(change.files)) == (head, ["login.py", "more.py"])
    assert git("log", "--format=%s", f"main..{change.commit}", cwd=origin.path).splitlines() == [
        "also by the engine", "by the engine",
    ]  # fmt: skip


def test_damaged_objects_of_the_engine_fail_the_task(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    write(workspace.repo, {"login.py": "fixed\n"})
    git("commit", "--quiet", "--all", "--message=by the engine", cwd=workspace.repo)
    blob = git("rev-parse", "HEAD:login.py", cwd=workspace.repo)
    damaged = workspace.repo / ".git/objects" / blob[:2] / blob[2:]
    other = git("rev-parse", "HEAD", cwd=workspace.repo)
    damaged.chmod(0o644)
    damaged.write_bytes((workspace.repo / ".git/objects" / other[:2] / other[2:]).read_bytes())

    with pytest.raises(TaskFailedError, match="commits"):
        commit_and_push(workspace)


def test_commit_with_a_path_into_a_git_directory_is_rejected(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    blob = git("rev-parse", "HEAD:login.py", cwd=workspace.repo)
    tree = subprocess.run(
        ["git", "mktree"],
        cwd=workspace.repo,
        input=f"100644 blob {blob}\t.git\n",
        text=True,
        capture_output=True,
        check=True,
    ).stdout.strip()
    commit = git("commit-tree", tree, "-p", "HEAD", "-m", "evil", cwd=workspace.repo)
    git("update-ref", "HEAD", commit, cwd=workspace.repo)

    with pytest.raises(TaskFailedError, match="commits"):
        commit_and_push(workspace)


def test_very_deep_directory_neither_breaks_the_commit_nor_the_clean_up(origin: Origin, tmp_path: Path) -> None:
    workspace = make_clone(origin, tmp_path)
    code = (
        "import os\nfor _ in range(1200):\n    os.mkdir('directory'); os.chdir('directory')\nopen('x', 'w').close()\n"
    )
    subprocess.run(["python3", "-c", code], cwd=workspace.repo, check=True)

    with limited_time(60), pytest.raises(TaskFailedError):
        workspace.commit_changes("message")
    workspace.remove()
    assert not workspace.directory.exists()


def test_repository_with_very_many_files_does_not_use_up_the_memory(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory contains the next one ten times: six objects are a million files."""
    monkeypatch.setattr(git_module, "MEMORY", 64 * 1024**2)
    entry = f"100644 blob {git('rev-parse', 'HEAD:login.py', cwd=origin.clone)}"
    for _ in range(6):
        listing = "".join(f"{entry}\t{number}\n" for number in range(10))
        made = subprocess.run(
            ["git", "mktree"], cwd=origin.clone, input=listing, capture_output=True, text=True, check=True
        )
        entry = f"040000 tree {made.stdout.strip()}"
    commit = git("commit-tree", "-m", "many", made.stdout.strip(), cwd=origin.clone)
    git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main", cwd=origin.clone)

    with limited_time(), pytest.raises(TaskFailedError, match="git checkout failed") as raised:
        make_clone(origin, tmp_path)
    assert "memory" in raised.value.details.lower()
