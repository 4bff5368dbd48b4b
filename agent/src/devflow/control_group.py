"""Limits that the kernel enforces: a control group for each attempt (cgroups, version 2; cgroups(7)).

They count what measuring cannot attribute to a process, such as shared memory and file systems in memory. The agent
needs a group that was delegated to it: systemd does this for a unit with `Delegate=yes`. Without one, the supervisor
measures.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

from devflow.private_files import make_private_directory

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids")
_MEMBERSHIP = Path("/proc/self/cgroup")
_DELEGATED = "user.delegate"
"""systemd (since version 251) sets this extended attribute on a delegated group. All others belong to systemd."""
_OWN_GROUP = "agent"

_lock = threading.Lock()


class ControlGroups:
    """The groups of attempts, below the group of this process."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    def make(self, name: str, memory: int, threads: int) -> Path:
        """Make the group of an attempt. `memory` is in bytes. Raises OSError."""
        with _lock:
            self._enable_controllers()
        group = self._parent / name
        group.mkdir(exist_ok=True)
        (group / "memory.max").write_text(str(memory), encoding="ascii")
        (group / "pids.max").write_text(str(threads), encoding="ascii")
        for setting, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with suppress(OSError):  # a kernel without swap
                (group / setting).write_text(value, encoding="ascii")
        return group

    def _enable_controllers(self) -> None:
        """Processes and controllers are never in the same group: the agent moves into one of its own first."""
        enabled = (self._parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
        if set(CONTROLLERS) <= set(enabled):
            return
        own = make_private_directory(self._parent / _OWN_GROUP)
        for process in (self._parent / "cgroup.procs").read_text(encoding="ascii").split():
            (own / "cgroup.procs").write_text(process, encoding="ascii")
        wanted = " ".join(f"+{name}" for name in CONTROLLERS)
        (self._parent / "cgroup.subtree_control").write_text(wanted, encoding="ascii")


def remove_group(group: Path) -> None:
    """Remove a group whose processes have all ended."""
    with suppress(OSError):
        group.rmdir()


def find_delegated_group(root: Path = ROOT, membership: Path = _MEMBERSHIP) -> tuple[Path | None, str]:
    """Return the group in which this process may make others. If there is none, return why."""
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:
        return None, "there are no control groups"
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None or not (root / "cgroup.controllers").exists():
        return None, "this machine uses version 1 of control groups, or none"
    group = root / own
    if group.name == _OWN_GROUP and _is_delegated(group.parent):
        group = group.parent  # the process has moved there
    if not _is_delegated(group):
        return None, "no control group is delegated to the agent (Delegate=yes in its systemd unit)"
    available = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    if missing := [name for name in CONTROLLERS if name not in available]:
        return None, f"the agent's control group has no controller for {' and '.join(missing)}"
    return group, ""


def _is_delegated(group: Path) -> bool:
    try:
        return os.getxattr(group, _DELEGATED) == b"1"
    except (OSError, AttributeError):  # the attribute is not set, or this is not Linux
        return False
