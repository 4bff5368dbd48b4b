"""How much an engine may use of the machine (`--limit`). The supervisor of its program enforces the limits."""

import os
import re
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devflow.errors import SettingsError

_GIGABYTE = 1024**3
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": _GIGABYTE, "T": 1024**4}
_VALUE = re.compile(r"([1-9][0-9]{0,14})([KMGT]?)", re.IGNORECASE)
_THREADS_PER_PROCESS = 4
_MOST_OPEN_FILES = 65_536
_NUMBER_OF_THREADS = 17
"""The field of /proc/PID/stat, counted from the one after the name."""


@dataclass(frozen=True)
class ResourceLimits:
    """Limits of one attempt."""

    memory: int = 8 * _GIGABYTE
    """Bytes that all processes together may keep in memory. What is only reserved does not count: race detectors and
    sanitizers reserve terabytes. So it is measured, and there is no RLIMIT_AS or RLIMIT_DATA."""
    processes: int = 1024
    file: int = 4 * _GIGABYTE
    """Bytes of one file."""
    files: int = 16_384
    """Files that one process may have open."""
    disk: int = 20 * _GIGABYTE
    """Bytes of the clone's files, and the engine's temporary files and home."""

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "ResourceLimits":
        """Parse values of `--limit`, such as `memory=4G`. Raises SettingsError."""
        values = {}
        for text in texts:
            name, _, value = text.partition("=")
            match = _VALUE.fullmatch(value)
            if name not in cls.__dataclass_fields__ or match is None:
                names = ", ".join(cls.__dataclass_fields__)
                raise SettingsError(f"--limit {text!r} must be NAME=NUMBER, like memory=4G. Names: {names}")
            values[name] = int(match[1]) * _UNITS[match[2].upper()]
        return replace(cls(), **values)

    @property
    def threads(self) -> int:
        """How many threads all processes together may have. Linux limits them instead of processes."""
        return self.processes * _THREADS_PER_PROCESS

    def supervision(self, directories: Sequence[str]) -> dict[str, Any]:
        """Return the options of devflow.supervisor. `directories` are those that `disk` limits."""
        return {
            "rlimits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_FSIZE": self.file,
                "RLIMIT_NOFILE": self.files,
                # Linux counts the threads of the user, the agent's own included.
                "RLIMIT_NPROC": _count_threads_of_user() + self.threads,
            },
            "totals": {"memory": self.memory, "processes": self.processes, "disk": self.disk},
            "disk": list(directories),
        }


def allow_open_files() -> None:
    """Let this process open as many files as the system lets it. Usually it may open 1024, unless it asks for more.

    Engines with a network `proxy` can make the agent open 512 files for each task.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has another limit besides
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _count_threads_of_user() -> int:
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.getuid():
                fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                count += int(fields[_NUMBER_OF_THREADS])
        except (OSError, IndexError):  # it has ended
            continue
    return count
