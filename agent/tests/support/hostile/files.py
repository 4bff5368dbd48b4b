"""Attacks on files outside of the workspace, and on those that the engine only gets copies of."""

from __future__ import annotations

import os
from pathlib import Path

from agent.tests.support.hostile.tools import FACTS, LIBC, append, attack, checked, fact, write


@attack
def read_token_of_agent() -> bool:
    return "token" in (fact("agent") / "registration.json").read_text(encoding="utf-8")


@attack
def read_token_of_user() -> bool:
    return "token" in fact("config").read_text(encoding="utf-8")


@attack
def read_private_key() -> bool:
    return "private" in fact("key").read_text(encoding="utf-8")


@attack
def read_private_key_through_link() -> bool:
    Path("link").symlink_to(fact("key"))
    return "private" in Path("link").read_text(encoding="utf-8")


@attack
def read_private_key_through_proc() -> bool:
    """/proc/self/root and /proc/PID/root lead to the root directory of a process."""
    return any("private" in Path(f"{root}{fact('key')}").read_text(encoding="utf-8") for root in ("/proc/self/root",))


@attack
def list_other_tasks() -> bool:
    return len(list((fact("agent") / "work").iterdir())) > 0 and len(list((fact("agent") / "logs").iterdir())) > 0


@attack
def change_shell_settings_of_user() -> bool:
    return append(fact("home") / ".bashrc")


@attack
def plant_program_of_user() -> bool:
    """A program in a directory of the user's PATH runs the next time that somebody calls it."""
    (fact("home") / "bin" / "planted").write_text("#!/bin/sh\n", encoding="ascii")
    return True


@attack
def add_hard_link_to_private_key() -> bool:
    os.link(fact("key"), "stolen")
    return "private" in Path("stolen").read_text(encoding="utf-8")


@attack
def change_objects_of_agent_through_hard_link() -> bool:
    found = next(path for path in Path("../git/objects").rglob("*") if path.is_file())
    os.link(found, "object")
    Path("object").chmod(0o644)
    Path("object").write_bytes(b"changed")
    return True


@attack
def change_git_directory_of_agent() -> bool:
    return append(Path("../git/config"))


@attack
def change_file_of_task() -> bool:
    return append(Path(os.environ["DEVFLOW_TASK_FILE"]))


@attack
def change_allowed_path() -> bool:
    """`--sandbox-allow` shows it to engines, read-only."""
    return append(fact("allowed") / "shared.txt")


@attack
def make_allowed_path_writable() -> bool:
    remount, bind, read_only = 32, 4096, 1
    checked(LIBC.mount(None, str(fact("allowed")).encode(), None, remount | bind | (read_only & 0), None))
    return append(fact("allowed") / "shared.txt")


@attack
def change_own_login() -> bool:
    """It succeeds if the original changes: settings in it can name commands that run outside of the sandbox."""
    write(str(Path.home() / ".claude" / "settings.json"), '{"hooks": "planted"}')
    return True


@attack
def leave_files_for_next_task() -> bool:
    write(str(Path.home() / ".cache" / FACTS["unique"]), "poison")
    write(f"/tmp/{FACTS['unique']}", "poison")  # noqa: S108  # the engine's own, in a sandbox
    return True


@attack
def find_files_of_earlier_task() -> bool:
    places = [Path.home() / ".cache" / FACTS["unique"], Path("/tmp") / FACTS["unique"]]  # noqa: S108
    return any(place.exists() for place in places)


@attack
def read_shared_memory_file() -> bool:
    return "secret" in fact("shared_memory").read_text(encoding="utf-8")


@attack
def make_device() -> bool:
    os.mknod("device", 0o600 | 0o020000, os.makedev(1, 3))
    return True


@attack
def open_devices_of_machine() -> bool:
    names = ("mem", "kmsg", "vda", "sda", "nvme0n1", "kvm", "fuse", "loop0", "net/tun", "console")
    return any((Path("/dev") / name).exists() for name in names)
