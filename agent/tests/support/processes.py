"""Processes that tests start and that may end at any moment."""

from __future__ import annotations

from pathlib import Path


def is_alive(process: int) -> bool:
    """Whether the process is running and not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # ESRCH: it ended after the file was opened
        return False


def processes_in(directory: Path) -> list[int]:
    """Return the running processes whose working directory is in `directory`, even if it has been removed."""
    result = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(directory) and is_alive(int(process.name)):
                result.append(int(process.name))
        except OSError:  # the process has ended
            continue
    return result
