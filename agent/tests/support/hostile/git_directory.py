"""Attacks with the clone and the engine's git directory. The agent takes commits from there, and nothing else."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from agent.tests.support.hostile.tools import FACTS, attack, fact, fixed, write


@attack
def redirect_git_with_second_directory() -> bool:
    head = Path(".git/HEAD").read_text(encoding="utf-8")
    for place in ("second", ".git"):
        write(f"{place}/config", FACTS["git_config"])
        write(f"{place}/info/attributes", "* filter=x diff=x\n")
        write(f"{place}/HEAD", head)
    write(".git/commondir", "../second\n")
    return fixed()


@attack
def replace_git_directory_by_link() -> bool:
    Path(".git").rename("other")
    write("other/config", FACTS["git_config"])
    Path(".git").symlink_to("other")
    return fixed()


@attack
def include_configuration() -> bool:
    write("evil.config", FACTS["git_config"])
    for name in (".git/config", ".git/config.worktree", ".gitconfig"):
        write(name, "[include]\n\tpath = ../evil.config\n[extensions]\n\tworktreeConfig = true\n")
    return fixed()


@attack
def install_hooks() -> bool:
    names = (
        "pre-commit", "commit-msg", "post-commit", "pre-push", "post-checkout", "post-merge", "reference-transaction",
        "post-index-change", "pre-auto-gc", "fsmonitor-watchman", "post-rewrite", "prepare-commit-msg",
    )  # fmt: skip
    for name in names:
        for directory in (".git/hooks", "hooks", ".githooks", ".husky"):
            write(f"{directory}/{name}", f"#!/bin/sh\ntouch {FACTS['ran']}\n")
            Path(directory, name).chmod(0o755)
    return fixed()


@attack
def install_filters() -> bool:
    write(".git/config", FACTS["git_config"])
    for name in (".gitattributes", ".git/info/attributes", "sub/.gitattributes"):
        write(name, "* filter=x diff=x merge=x working-tree-encoding=UTF-8\n*.x filter=lfs\n")
    write("sub/file.x", "filtered")
    return fixed()


@attack
def add_submodule_with_settings() -> bool:
    write(".gitmodules", '[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c id\n\tupdate = !touch ran\n')
    for place in ("sub/.git", ".git/modules/sub"):
        write(f"{place}/config", FACTS["git_config"])
        write(f"{place}/HEAD", "ref: refs/heads/main\n")
        write(f"{place}/objects/x", "")
        write(f"{place}/refs/x", "")
    write("sub/file", "x")
    return fixed()


@attack
def nest_git_directories_with_other_cases() -> bool:
    for name in (".GIT", ".Git", "git~1", "sub/.git ", "sub/.gIt"):
        with suppress(OSError):
            write(f"{name}/config", FACTS["git_config"])
            write(f"{name}/hooks/pre-push", f"#!/bin/sh\ntouch {FACTS['ran']}\n")
    return fixed()


@attack
def borrow_objects_of_private_repository() -> bool:
    write(".git/objects/info/alternates", f"{FACTS['private_repository']}/.git/objects\n")
    write(".git/HEAD", FACTS["private_commit"] + "\n")
    return fixed()


@attack
def damage_pack() -> bool:
    commit_change()
    subprocess.run(["git", "repack", "-adlq"], check=True)
    for path in Path(".git/objects/pack").glob("*.pack"):
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    return False


@attack
def commit_path_out_of_repository() -> bool:
    return commit_tree(f"040000 tree {tree_with_file()}\t..")


@attack
def commit_path_into_git_directory_with_other_case() -> bool:
    return commit_tree(f"040000 tree {tree_with_file()}\t.GIT")


@attack
def commit_without_history() -> bool:
    """The branch would contain other people's work, or nothing of the repository's."""
    commit_change()
    tree = git("rev-parse", "HEAD^{tree}")
    git("update-ref", "HEAD", git("commit-tree", tree, "-m", "orphan"))
    return False


@attack
def loop_references() -> bool:
    write(".git/HEAD", "ref: refs/heads/a\n")
    write(".git/refs/heads/a", "ref: refs/heads/b\n")
    write(".git/refs/heads/b", "ref: refs/heads/a\n")
    return fixed()


@attack
def lead_reference_out_of_repository() -> bool:
    write(".git/HEAD", f"ref: refs/../../../../../../../../../../..{FACTS['key']}\n")
    Path(".git/refs/heads").rename(".git/refs/old")
    Path(".git/refs/heads").symlink_to(FACTS["private_repository"] + "/.git/refs/heads")
    return fixed()


@attack
def replace_objects() -> bool:
    """git shows the replacement of an object in its place, wherever it reads the object."""
    commit_change()
    git("replace", "HEAD", git("commit-tree", git("rev-parse", "HEAD^{tree}"), "-m", "replacement"))
    write(".git/info/grafts", git("rev-parse", "HEAD") + "\n")
    return True


@attack
def move_other_branches() -> bool:
    """Only the task's branch is pushed, whatever other references say."""
    commit_change()
    for name in ("main", "release"):
        git("update-ref", f"refs/heads/{name}", "HEAD")
    git("tag", "v9.9.9")
    return True


@attack
def block_agent_with_pipes() -> bool:
    for name in (".git/shallow", ".git/packed-refs", ".git/index", "sub/.gitignore", ".gitmodules", "pipe"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).unlink(missing_ok=True)
        os.mkfifo(name)
    return fixed()


@attack
def commit_link_to_private_key() -> bool:
    Path("stolen").symlink_to(fact("key"))
    Path("directory").symlink_to(fact("home"))
    return fixed()


@attack
def replace_clone_by_link() -> bool:
    clone = Path.cwd()
    clone.rename(clone.with_name("moved"))
    clone.symlink_to(fact("home"))
    return True


@attack
def leave_programs_in_clone() -> bool:
    """With `.` in the agent's PATH, they would run in place of the real ones."""
    for name in ("git", "gh", "bwrap", "ssh", "python3", "sitecustomize.py", "usercustomize.py"):
        write(name, f"#!/bin/sh\ntouch {FACTS['ran']}\n")
        Path(name).chmod(0o755)
    write("libevil.so", "")
    write(".env", f"LD_PRELOAD={Path.cwd()}/libevil.so\nPATH=.\n")
    return fixed()


@attack
def fix() -> bool:
    """An ordinary engine."""
    return fixed()


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit_change() -> None:
    fixed()
    git("commit", "--quiet", "--all", "--message=by the engine")


def tree_with_file() -> str:
    return make_tree(f"100644 blob {git('rev-parse', 'HEAD:login.py')}\tplanted")


def make_tree(entries: str) -> str:
    made = subprocess.run(["git", "mktree"], input=f"{entries}\n", capture_output=True, text=True, check=True)
    return made.stdout.strip()


def commit_tree(entry: str) -> bool:
    """Commit the files of HEAD and one more entry."""
    tree = make_tree(f"{git('ls-tree', 'HEAD')}\n{entry}")
    git("update-ref", "HEAD", git("commit-tree", tree, "-p", "HEAD", "-m", "by the engine"))
    return True
