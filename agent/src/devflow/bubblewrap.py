"""The sandbox on Linux: expresses what an engine sees as a command line of `bwrap`.

bwrap makes namespaces and mounts, and runs the engine in them. What no argument names does not exist for the engine.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from devflow import namespace_forwarder
from devflow.engine_view import Access, EngineView, MachineView
from devflow.program_paths import SYSTEM_DIRECTORIES

FORWARDER = Path(namespace_forwarder.__file__)
PROXY_PORT = 3128
"""The proxy's port on the engine's loopback. In a network namespace of its own, every port is free."""
PROCESSES_AROUND = 2
"""bwrap, and the process with the id 1 in its namespace."""
_PROXY_SOCKET = "/run/devflow-proxy"
_VERSION_SECONDS = 10.0
_DISABLES_NAMESPACES = (0, 8)
"""The version of bubblewrap that introduced `--disable-userns`."""
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
    "fonts", "gai.conf", "group", "host.conf", "hosts", "inputrc", "java-11-openjdk", "java-17-openjdk",
    "java-21-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "magic",
    "mime.types", "nsswitch.conf", "os-release", "passwd", "perl", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs",
    "pki/tls/openssl.cnf", "profile", "protocols", "resolv.conf", "services", "ssl/cert.pem", "ssl/certs",
    "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""The files of /etc that programs need. None of them contains a secret."""
_KERNEL_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger")
"""Root may write them without any capability. `core_pattern`, for example, names a program that the kernel runs as root
outside of all namespaces. bwrap covers them only if it finds their directory writable, which /proc/sys never is."""
_HINTS = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids user namespaces. Add an AppArmor profile for bwrap that allows them",
    ),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "Set kernel.unprivileged_userns_clone to 1"),
    "/proc/sys/user/max_user_namespaces": ("0", "Set user.max_user_namespaces to a higher number"),
}
"""Settings of the kernel that keep bubblewrap from working: the value, and what to do."""


def find_bubblewrap() -> str | None:
    """Return the absolute path of `bwrap`. Returns None if it is not installed.

    The path is absolute because `bwrap` starts in the clone: a `.` in PATH would run a file of the repository instead.
    """
    program = shutil.which("bwrap")
    return os.path.abspath(program) if program else None  # noqa: PTH100  # a link must stay one


def build_bubblewrap_command(argv: Sequence[str], view: EngineView, machine: MachineView) -> list[str]:
    """Return the command line that runs `argv` with this view of the machine."""
    program, command = find_bubblewrap() or "bwrap", list(argv)
    arguments = [*_namespaces(program, machine.network), *_system(), "--proc", "/proc", *_kernel_settings()]
    arguments += ["--dev", "/dev", "--dir", "/run", "--bind", str(view.shared_memory), "/dev/shm"]  # noqa: S108 # nosec B108
    arguments += ["--bind", str(view.temporary), "/tmp"]  # noqa: S108 # nosec B108
    arguments += ["--dir", "/var", "--symlink", "../tmp", "/var/tmp"]  # noqa: S108 # nosec B108
    arguments += ["--bind", str(view.home), str(machine.home)]
    if view.proxy:
        arguments += ["--bind", str(view.proxy), _PROXY_SOCKET]
        command = [sys.executable, "-I", "-S", str(FORWARDER), _PROXY_SOCKET, str(PROXY_PORT), *command]
    for path, target in machine.links:
        arguments += ["--symlink", target, str(path)]
    arguments += _grants(view, machine)
    # What bwrap has made is in memory, and would not count as disk.
    hidden = [grant.path for grant in machine.grants if grant.access is Access.HIDDEN]
    for place in [*(str(path) for path in hidden if path.is_dir()), "/dev", "/"]:
        arguments += ["--remount-ro", place]
    return [program, *arguments, "--chdir", str(view.clone), "--", *command]


def find_kernel_hints() -> list[str]:
    """Return what to change if settings of the kernel keep bubblewrap from working."""
    hints = []
    for name, (value, hint) in _HINTS.items():
        path = Path(name)
        if path.exists() and path.read_text(encoding="ascii").strip() == value:
            hints.append(hint)
    return hints


def _grants(view: EngineView, machine: MachineView) -> list[str]:
    assert view.private is not None
    empty = view.private / "empty"
    empty.touch()
    arguments = []
    for grant in machine.grants:
        path = str(grant.path)
        if grant.access is Access.HIDDEN:
            if grant.path.is_dir():
                arguments += ["--tmpfs", path]
            elif grant.path.exists():
                arguments += ["--ro-bind", str(empty), path]
        else:
            option = "--bind" if grant.access is Access.WRITE else "--ro-bind"
            arguments += [option if grant.required else f"{option}-try", path, path]
    return arguments


def _namespaces(program: str, network: str) -> list[str]:
    arguments = [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--hostname", "devflow", "--cap-drop", "ALL",
    ]  # fmt: skip
    # In a user namespace of its own, an engine could mount file systems in memory, which no limit covers.
    arguments += ["--disable-userns"] if can_disable_namespaces(program) else []
    return arguments + (["--unshare-net"] if network != "host" else [])


def is_setuid(program: str) -> bool:
    """Whether `bwrap` runs as root, as some systems install it that forbid user namespaces."""
    try:
        return bool(Path(program).stat().st_mode & stat.S_ISUID)
    except OSError:
        return False


@cache
def can_disable_namespaces(program: str) -> bool:
    """Whether this `bwrap` can keep programs from making user namespaces: version 0.8, and not setuid."""
    if is_setuid(program):
        return False
    try:
        completed = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_VERSION_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    numbers = completed.stdout.strip().rpartition(" ")[2].split(".")[:2]
    return all(number.isdecimal() for number in numbers) and tuple(map(int, numbers)) >= _DISABLES_NAMESPACES


def _system() -> list[str]:
    """Return the arguments that show the system's programs, libraries and settings, read-only."""
    arguments = []
    for directory in SYSTEM_DIRECTORIES:
        if directory.is_symlink():
            arguments += ["--symlink", os.readlink(directory), str(directory)]  # noqa: PTH115  # as it is written
        elif directory.is_dir():
            arguments += ["--ro-bind", str(directory), str(directory)]
    for name in _ETC:
        path = Path("/etc") / name
        if path.exists():
            # bwrap binds the file that a link leads to: /etc/resolv.conf often leads to /run, which is not visible.
            arguments += ["--ro-bind", str(path.resolve()), str(path)]
    return arguments


def _kernel_settings() -> list[str]:
    if os.geteuid() != 0:  # the kernel lets nobody else write them
        return []
    return [word for name in _KERNEL_SETTINGS if Path(name).exists() for word in ("--ro-bind", name, name)]
