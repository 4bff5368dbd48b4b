"""What an engine sees of the machine: bubblewrap shows it its workspace, programs and libraries, and nothing else.

An engine runs what a model decides to run, in a repository that strangers may have written. The sandbox is the boundary
for that. It is described here as arguments of `bwrap`, which makes the namespaces and mounts and then runs the engine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devflow import namespace_forwarder
from devflow.egress_proxy import HostPattern
from devflow.engine_profiles import NO_PROFILE, EngineProfile
from devflow.environment import build_engine_environment, find_certificate_paths
from devflow.errors import SettingsError
from devflow.private_files import make_private_directory
from devflow.program_paths import SYSTEM_DIRECTORIES, find_program_paths
from devflow.resource_limits import ResourceLimits

MODES = ("auto", "bwrap", "none")
NETWORKS = ("host", "none", "proxy")
_PROCESSES_AROUND = 2
"""bwrap, and the process with the id 1 in its namespace."""
_PROBE_SECONDS = 20.0
_PROXY_SOCKET, _PROXY_PORT = "/run/devflow-proxy", 3128
"""The proxy as engines see it. In a network namespace of its own, every port is free."""
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
    "fonts", "gai.conf", "group", "host.conf", "hosts", "inputrc", "java-11-openjdk", "java-17-openjdk",
    "java-21-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "magic",
    "mime.types", "nsswitch.conf", "os-release", "passwd", "perl", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs",
    "pki/tls/openssl.cnf", "profile", "protocols", "resolv.conf", "services", "ssl/cert.pem", "ssl/certs",
    "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""The files of /etc that programs need. None of them contains a secret."""
_FORWARDER = Path(namespace_forwarder.__file__)
_HINTS = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids user namespaces. Add an AppArmor profile for bwrap that allows them",
    ),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "Set kernel.unprivileged_userns_clone to 1"),
    "/proc/sys/user/max_user_namespaces": ("0", "Set user.max_user_namespaces to a higher number"),
}
"""Settings of the kernel that keep bubblewrap from working: the value, and what to do."""


@dataclass(frozen=True)
class AllowedPath:
    """A path that the operator shows to engines (`--sandbox-allow`)."""

    path: Path
    writable: bool = False

    @classmethod
    def parse(cls, text: str) -> "AllowedPath":
        """Parse `PATH` or `PATH:rw`. Raises SettingsError if the path is not absolute or does not exist."""
        name = text.removesuffix(":rw").removesuffix(":ro")
        path = Path(name).expanduser()
        if not path.is_absolute() or not path.exists():
            raise SettingsError(f"--sandbox-allow {text!r} must be an absolute path that exists, or PATH:rw")
        return cls(path, writable=text.endswith(":rw"))


@dataclass(frozen=True)
class EngineView:
    """The directories of one attempt, as the engine sees them. All paths are the same inside and outside."""

    clone: Path
    """Writable, and the current directory."""
    readable: tuple[Path, ...] = ()
    """Files and directories that belong to the task."""
    private: Path | None = None
    """An empty directory for the engine's own home and temporary files. Without it, the sandbox cannot be used."""
    proxy: Path | None = None
    """The socket of the proxy (`devflow.egress_proxy`), with `--network proxy`."""


@dataclass(frozen=True)
class Sandbox:
    """How to run engines. `make` decides it when the agent starts."""

    enabled: bool = False
    network: str = "host"
    hosts: tuple[HostPattern, ...] = ()
    """The hosts that engines may reach with the network `proxy`, besides those of the profile."""
    allowed: tuple[AllowedPath, ...] = ()
    hidden: tuple[Path, ...] = ()
    """Never visible, even if they are below an allowed path: the agent's files and the config file."""
    profile: EngineProfile = NO_PROFILE
    pass_names: tuple[str, ...] = ()
    """Variables of the environment that engines get besides those of the profile (`--pass-env`)."""
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    home: Path = field(default_factory=Path.home)

    @property
    def description(self) -> str:
        """The sandbox in a few words, for the agent's log."""
        if self.enabled:
            return f"engines run in a sandbox: bubblewrap, network {self.network}, profile {self.profile.name}"
        return "engines run without a sandbox: they can read and change everything that this user can"

    def wrap(self, argv: Sequence[str], view: EngineView, programs: Sequence[Path] = ()) -> list[str]:
        """Return the command line that runs `argv` in the sandbox. `programs` are more files that it runs."""
        if not self.enabled:
            return list(argv)
        assert view.private is not None
        command = list(argv)
        temporary = make_private_directory(view.private / "tmp")
        home = make_private_directory(view.private / "home")
        self.profile.copy_logins(self.home, home)
        shared = make_private_directory(view.private / "shm")
        arguments = [*_namespaces(self.network), *_system(), "--proc", "/proc", "--dev", "/dev", "--dir", "/run"]
        arguments += ["--bind", str(shared), "/dev/shm"]  # noqa: S108 # nosec B108

        arguments += ["--bind", str(temporary), "/tmp"]  # noqa: S108 # nosec B108
        arguments += ["--dir", "/var", "--symlink", "../tmp", "/var/tmp"]  # noqa: S108 # nosec B108
        arguments += ["--bind", str(home), str(self._inner_home)]
        if view.proxy:
            arguments += ["--bind", str(view.proxy), _PROXY_SOCKET]
            programs = (*programs, Path(sys.executable), _FORWARDER)
            forwarder = [sys.executable, "-I", "-S", str(_FORWARDER), _PROXY_SOCKET, str(_PROXY_PORT)]
            command = [*forwarder, *argv]
        arguments += self._programs(argv, programs)
        for allowed in self.allowed:
            arguments += ["--bind" if allowed.writable else "--ro-bind", str(allowed.path), str(allowed.path)]
        arguments += self._masks(view.private / "empty")
        arguments += ["--bind", str(view.clone), str(view.clone)]
        for path in view.readable:
            arguments += ["--ro-bind", str(path), str(path)]
        # What bwrap has made is in memory, and would not count as disk.
        for place in [*(str(path) for path in self.hidden if path.is_dir()), "/dev", "/"]:
            arguments += ["--remount-ro", place]
        return ["bwrap", *arguments, "--chdir", str(view.clone), "--", *command]

    @property
    def allowed_hosts(self) -> tuple[HostPattern, ...]:
        """The hosts that engines may reach with the network `proxy`."""
        return (*map(HostPattern.parse, self.profile.hosts), *self.hosts)

    def supervision(self, view: EngineView) -> dict[str, Any]:
        """Return the options of devflow.supervisor for an engine in this sandbox."""
        directories = [view.clone, *([view.private] if view.private else [])]
        options = self.limits.supervision([str(directory) for directory in directories])
        return options | {"wrappers": _PROCESSES_AROUND if self.enabled else 0}

    def environment(self) -> dict[str, str]:
        """Return what an engine gets of this process's environment."""
        env = build_engine_environment((*self.profile.variables, *self.pass_names))
        # In a sandbox, these name directories that are not visible.
        hidden = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME") if self.enabled else ()
        env = {name: value for name, value in env.items() if name not in hidden}
        if self.enabled:
            env["HOME"] = str(self._inner_home)
        return env | _proxy_variables() if self.network == "proxy" else env

    def find_problem(self) -> str:
        """Return why this sandbox does not work on this machine, and what to do. Returns nothing if it works."""
        if sys.platform != "linux":
            return f"There is no sandbox for {sys.platform}"
        if shutil.which("bwrap") is None:
            return "bubblewrap is not installed. Try: apt install bubblewrap, or dnf install bubblewrap"
        with tempfile.TemporaryDirectory(prefix="devflow-probe-") as directory:
            root = Path(directory)
            clone, private = make_private_directory(root / "clone"), make_private_directory(root / "private")
            argv = self.wrap(["true"], EngineView(clone, (), private))
            try:
                completed = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                    timeout=_PROBE_SECONDS, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"bubblewrap does not work: {error}"
        if completed.returncode == 0:
            return ""
        reason = completed.stderr.strip().rpartition("\n")[2] or f"exit status {completed.returncode}"
        return ". ".join([f"bubblewrap does not work: {reason}", *_kernel_hints()])

    @property
    def _inner_home(self) -> Path:
        """The home as engines see it: the same path as outside, unless that is a directory of the system."""
        inside = any(directory.is_relative_to(self.home) for directory in SYSTEM_DIRECTORIES)
        return Path("/home/devflow") if inside else self.home

    def _programs(self, argv: Sequence[str], programs: Sequence[Path]) -> list[str]:
        arguments = []
        for directory in self.profile.directories(self.home):
            arguments += ["--ro-bind-try", str(directory), str(directory)]
        found = find_program_paths(argv, programs, keep_out=(self.home, *self.hidden))
        for path, target in found.links.items():
            arguments += ["--symlink", target, str(path)]
        for name in [*map(str, found.paths), *find_certificate_paths()]:
            arguments += ["--ro-bind-try", name, name]
        return arguments

    def _masks(self, empty: Path) -> list[str]:
        """Return the arguments that cover the hidden paths. `empty` becomes an empty file in place of hidden files."""
        empty.touch()
        arguments = []
        for path in self.hidden:
            if path.is_dir():
                arguments += ["--tmpfs", str(path)]
            elif path.exists():
                arguments += ["--ro-bind", str(empty), str(path)]
        return arguments


def make_sandbox(mode: str, sandbox: Sandbox) -> Sandbox:
    """Return the sandbox for `--sandbox MODE`. Raises SettingsError if it does not work, unless `mode` is `none`."""
    if mode == "none":
        if sandbox.network != "host":
            raise SettingsError("--network restricts engines in a sandbox only. Use it without --sandbox none")
        return sandbox
    enabled = replace(sandbox, enabled=True)
    if problem := enabled.find_problem():
        raise SettingsError(
            f"The engine cannot run in a sandbox. {problem}. To run it without one, so that it can read and change "
            "everything that this user can: --sandbox none"
        )
    return enabled


def _namespaces(network: str) -> list[str]:
    arguments = [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--hostname", "devflow", "--cap-drop", "ALL",
    ]  # fmt: skip
    return arguments + (["--unshare-net"] if network != "host" else [])


def _proxy_variables() -> dict[str, str]:
    address, local = f"http://127.0.0.1:{_PROXY_PORT}", "localhost,127.0.0.1,::1"
    values = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "ALL_PROXY": address, "NO_PROXY": local}
    lower = {name.lower(): value for name, value in values.items()}
    return values | lower | {"NODE_USE_ENV_PROXY": "1"}  # Node's own client reads the others only with this one


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


def _kernel_hints() -> list[str]:
    hints = []
    for name, (value, hint) in _HINTS.items():
        path = Path(name)
        if path.exists() and path.read_text(encoding="ascii").strip() == value:
            hints.append(hint)
    return hints
