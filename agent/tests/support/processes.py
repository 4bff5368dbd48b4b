"""Processes that tests start and that may end at any moment."""

from __future__ import annotations

from pathlib import Path


def is_alive(process: int) -> bool:
    """Whether the process is running and not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # ESRCH: it ended after the file was opened
        return False
