"""What an engine sees of the machine, independent of the program that enforces it.

`devflow.sandbox` decides it. `devflow.bubblewrap` and `devflow.seatbelt` express it as arguments and as a profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from devflow.errors import SettingsError


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

    @property
    def home(self) -> Path:
        return self._below_private("home")

    @property
    def temporary(self) -> Path:
        return self._below_private("tmp")

    @property
    def shared_memory(self) -> Path:
        return self._below_private("shm")

    def _below_private(self, name: str) -> Path:
        assert self.private is not None
        return self.private / name


class Access(Enum):
    """What an engine may do with a path, and with everything below it."""

    READ = "read"
    WRITE = "write"
    HIDDEN = "hidden"


@dataclass(frozen=True)
class Grant:
    """Access to one path. A later grant takes precedence over an earlier one."""

    path: Path
    access: Access
    required: bool = True
    """Whether the engine must not start if the path does not exist."""


@dataclass(frozen=True)
class MachineView:
    """Everything that an engine sees besides the system's own directories."""

    grants: Sequence[Grant]
    links: Sequence[tuple[Path, str]]
    """Symbolic links that lead to programs: the link, and what is written in it."""
    home: Path
    """The path under which the engine sees its home."""
    network: str
    """`host`, `none` or `proxy`."""
