"""How engines are confined: what they see and may use of the machine, and whether that works here.

An engine runs what a model decides to run, in a repository that strangers may have written. The sandbox is the boundary
for that. `Sandbox` describes it. `devflow.bubblewrap` enforces it on Linux, and `devflow.seatbelt` on macOS.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devflow import seatbelt
from devflow.bubblewrap import (
    FORWARDER,
    PROCESSES_AROUND,
    PROXY_PORT,
    build_bubblewrap_command,
    find_bubblewrap,
    find_kernel_hints,
    is_setuid,
)
from devflow.control_group import ControlGroups
from devflow.egress_proxy import HostPattern
from devflow.engine_profiles import NO_PROFILE, EngineProfile
from devflow.engine_view import Access, AllowedPath, EngineView, Grant, MachineView
from devflow.environment import build_engine_environment, find_certificate_paths
from devflow.errors import SettingsError
from devflow.private_files import make_private_directory
from devflow.program_paths import SYSTEM_DIRECTORIES, find_program_paths
from devflow.resource_limits import ResourceLimits

MODES = ("auto", "bwrap", "none")
NETWORKS = ("host", "none", "proxy")
_MACOS = "darwin"
_PROBE_SECONDS = 20.0


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
    groups: ControlGroups | None = None
    """Where the kernel enforces limits. Without it, they are measured."""
    home: Path = field(default_factory=Path.home)

    @property
    def description(self) -> str:
        """The sandbox in a few words, for the agent's log."""
        if self.enabled:
            return f"engines run in a sandbox: {self.program}, network {self.network}, profile {self.profile.name}"
        return "engines run without a sandbox: they can read and change everything that this user can"

    @property
    def program(self) -> str:
        """The program that confines engines on this system."""
        return "sandbox-exec" if _is_macos() else "bubblewrap"

    def wrap(self, argv: Sequence[str], view: EngineView, programs: Sequence[Path] = ()) -> list[str]:
        """Return the command line that runs `argv` in the sandbox. `programs` are more files that it runs."""
        if not self.enabled:
            return list(argv)
        for directory in (view.home, view.temporary, view.shared_memory):
            make_private_directory(directory)
        self.profile.copy_logins(self.home, view.home)
        machine = self.describe(argv, view, programs)
        if _is_macos():
            return seatbelt.build_seatbelt_command(argv, view, machine)
        return build_bubblewrap_command(argv, view, machine)

    def describe(self, argv: Sequence[str], view: EngineView, programs: Sequence[Path] = ()) -> MachineView:
        """Return what the program `argv` sees of this machine."""
        if view.proxy:
            programs = (*programs, Path(sys.executable), FORWARDER)
        keep_out = (self.home, self.home / ".local" / "share", *self.hidden)  # ~/.local/share has keyrings and logins
        found = find_program_paths(argv, programs, keep_out)
        own = [*self.profile.directories(self.home), *found.paths, *map(Path, find_certificate_paths())]
        grants = [Grant(path, Access.READ, required=False) for path in dict.fromkeys(own)]
        grants += [Grant(entry.path, Access.WRITE if entry.writable else Access.READ) for entry in self.allowed]
        grants += [Grant(path, Access.HIDDEN) for path in (*self.hidden, *self._find_hidden_below(grants))]
        grants += [Grant(view.clone, Access.WRITE), *(Grant(path, Access.READ) for path in view.readable)]
        return MachineView(grants, list(found.links.items()), self._inner_home, self.network)

    def _find_hidden_below(self, grants: Sequence[Grant]) -> list[Path]:
        """Return where hidden files would be visible because the path of a grant is, or contains, a link."""
        found = []
        for grant in grants:
            target = grant.path.resolve()
            for hidden in {path.resolve(): None for path in self.hidden} if target != grant.path else ():
                if hidden.is_relative_to(target):
                    found.append(grant.path / hidden.relative_to(target))
                elif target.is_relative_to(hidden):
                    found.append(grant.path)
        return found

    @property
    def allowed_hosts(self) -> tuple[HostPattern, ...]:
        """The hosts that engines may reach with the network `proxy`."""
        return (*map(HostPattern.parse, self.profile.hosts), *self.hosts)

    def supervision(self, view: EngineView) -> dict[str, Any]:
        """Return the options of devflow.supervisor for an engine in this sandbox."""
        directories = [view.clone, *([view.private] if view.private else [])]
        options = self.limits.supervision([str(directory) for directory in directories])
        # sandbox-exec becomes the engine, and bwrap stays around it.
        if not self.enabled or _is_macos():
            return options | {"wrappers": 0}
        # A process that may not gain privileges cannot start a bwrap that is setuid.
        return options | {"wrappers": PROCESSES_AROUND, "confined": not is_setuid(find_bubblewrap() or "")}

    def make_group(self, name: str) -> Path | None:
        """Make the control group of an attempt. Returns None if that is not possible: the limits are measured then."""
        if self.groups is None:
            return None
        try:
            return self.groups.make(name, self.limits.memory, self.limits.threads)
        except OSError:
            return None

    def environment(self, view: EngineView | None = None) -> dict[str, str]:
        """Return what an engine gets of this process's environment."""
        env = build_engine_environment((*self.profile.variables, *self.pass_names))
        # In a sandbox, these name directories that are not visible.
        hidden = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME") if self.enabled else ()
        env = {name: value for name, value in env.items() if name not in hidden}
        if self.enabled and _is_macos() and view:  # every path is the same inside and outside
            env |= {"HOME": str(view.home), "TMPDIR": str(view.temporary)}
        elif self.enabled:
            env["HOME"] = str(self._inner_home)
        return env | _proxy_variables() if self.network == "proxy" else env

    def find_problem(self) -> str:
        """Return why this sandbox does not work on this machine, and what to do. Returns nothing if it works."""
        if problem := self._find_missing_program():
            return problem
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
                return f"{self.program} does not work: {error}"
        if completed.returncode == 0:
            return ""
        reason = completed.stderr.strip().rpartition("\n")[2] or f"exit status {completed.returncode}"
        return ". ".join([f"{self.program} does not work: {reason}", *find_kernel_hints()])

    def _find_missing_program(self) -> str:
        if _is_macos():
            if self.network == "proxy":
                return "--network proxy needs network namespaces, which macOS does not have. Use --network none"
            return "" if Path(seatbelt.PROGRAM).exists() else f"{seatbelt.PROGRAM} does not exist on this machine"
        if sys.platform != "linux":
            return f"There is no sandbox for {sys.platform}"
        if find_bubblewrap() is None:
            return "bubblewrap is not installed. Try: apt install bubblewrap, or dnf install bubblewrap"
        return ""

    @property
    def _inner_home(self) -> Path:
        """The home as engines see it: the same path as outside, unless that is a directory of the system."""
        inside = any(directory.is_relative_to(self.home) for directory in SYSTEM_DIRECTORIES)
        return Path("/home/devflow") if inside else self.home


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


def _proxy_variables() -> dict[str, str]:
    address, local = f"http://127.0.0.1:{PROXY_PORT}", "localhost,127.0.0.1,::1"
    values = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "ALL_PROXY": address, "NO_PROXY": local}
    lower = {name.lower(): value for name, value in values.items()}
    return values | lower | {"NODE_USE_ENV_PROXY": "1"}  # Node's own client reads the others only with this one


def _is_macos() -> bool:
    return sys.platform == _MACOS
