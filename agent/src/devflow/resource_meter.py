"""Measures what the processes of a task use together: memory, processes and disk. The supervisor imports it.

What an engine can hide from the one measurement counts in the other: files that are deleted and still open, and files
in memory. It imports few modules, because the supervisor has to start quickly.
"""

import os
import stat
import time
from contextlib import suppress

from devflow.process_table import Process, find_descendants

MEASURE_SECONDS = 0.5
"""Measuring takes a few milliseconds."""
_DISK_SHARE = 20
"""Measuring the disk takes at most one part of so many of the time, unless the file system fills up meanwhile."""
_MIN_FILE_BYTES = 4_096
"""What a file counts at least, because the number of files of a disk is limited too."""
_MAX_DEPTH = 400
"""Directories below each other. Each takes one open file here, and git could not read more of them."""
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_PLACE = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_IN_MEMORY = ("/memfd:", "/dev/zero")


class Meter:
    """Compares what all processes use together with the limits."""

    def __init__(self, limits: dict[str, int], disk: list[str]) -> None:
        self._limits, self._disk = limits, disk
        self.next_at = time.monotonic() + MEASURE_SECONDS if limits else None
        """When to measure again, or None."""
        self._disk_at = 0.0
        self._disk_used = 0
        self._free: tuple[int, ...] = ()

    def find_exceeded_limit(self) -> str:
        """Return which limit is exceeded, for people. Returns nothing if none is, or if it is too early."""
        now = time.monotonic()
        if self.next_at is None or now < self.next_at:
            return ""
        self.next_at = now + MEASURE_SECONDS
        processes = [process for process in find_descendants() if not process.ended]
        in_memory, on_disk = measure_unnamed_files(processes)
        used = {"memory": in_memory + sum(process.memory for process in processes), "processes": len(processes)}
        if self._disk and "disk" in self._limits:
            free, rest = find_free_space(self._disk[0]), self._limits["disk"] - self._disk_used
            is_filling = any(before - after > rest for before, after in zip(self._free, free, strict=False))
            if now >= self._disk_at or is_filling:
                try:
                    used["disk"] = on_disk + sum(measure_directory(path, self._limits["disk"]) for path in self._disk)
                except TooDeepError:
                    return f"The limit of {_MAX_DEPTH} directories below each other was exceeded"
                self._disk_used, self._free = used["disk"], free
                self._disk_at = now + _DISK_SHARE * (time.monotonic() - now)
        for name, value in used.items():
            if value > self._limits.get(name, value):
                return f"The limit of {self._limits[name]} for {name} was exceeded"
        return ""


def find_free_space(directory: str) -> tuple[int, ...]:
    """Return what fits onto the file system of a directory: bytes, and bytes of files of the least size."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return ()
    return found.f_bfree * found.f_frsize, found.f_ffree * _MIN_FILE_BYTES


class TooDeepError(Exception):
    """A directory is too deep to be measured."""


def measure_unnamed_files(processes: list[Process]) -> tuple[int, int]:
    """Return the bytes of open files that are in no directory: those in memory, and those on disk."""
    seen: set[tuple[int, int]] = set()
    used = [0, 0]
    for process in processes:
        directory = f"/proc/{process.pid}/fd"
        try:
            names = os.listdir(directory)  # noqa: PTH208
        except OSError:  # it has ended
            continue
        for name in names:
            with suppress(OSError):
                found = os.stat(f"{directory}/{name}")  # noqa: PTH116
                if found.st_nlink or not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
                target = os.readlink(f"{directory}/{name}")  # noqa: PTH115
                used[0 if target.startswith(_IN_MEMORY) else 1] += found.st_blocks * 512
    return used[0], used[1]


def measure_directory(directory: str, most: int) -> int:
    """Return the bytes that the files in a directory use on disk. A file counts at least 4 KB.

    Stops once there are more than `most`. The engine may change everything meanwhile: no link is followed, and a
    directory that is not readable is made so. Raises TooDeepError if directories are nested too deeply.
    """
    try:
        descriptor = os.open(directory, _OPEN_DIRECTORY)
    except OSError:  # it does not exist
        return 0
    total, levels = 0, [(descriptor, _list(descriptor))]
    try:
        while levels and total <= most:
            descriptor, names = levels[-1]
            if not names:
                levels.pop()
                os.close(descriptor)
                continue
            name = names.pop()
            with suppress(OSError):  # it was removed
                found = os.lstat(name, dir_fd=descriptor)
                total += max(found.st_blocks * 512, _MIN_FILE_BYTES)
                if stat.S_ISDIR(found.st_mode):
                    if len(levels) == _MAX_DEPTH:
                        raise TooDeepError
                    below = _open_below(descriptor, name)
                    levels.append((below, _list(below)))
    finally:
        for descriptor, _ in levels:
            os.close(descriptor)
    return total


def _open_below(parent: int, name: str) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        # The engine, which is the same user, has taken the permission away. The directory is opened first without
        # reading it, so that the permissions of nothing else change if the engine puts a link in its place.
        place = os.open(name, _OPEN_PLACE, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # noqa: PTH101
            return os.open(".", _OPEN_DIRECTORY, dir_fd=place)
        finally:
            os.close(place)


def _list(descriptor: int) -> list[str]:
    try:
        return os.listdir(descriptor)
    except OSError:
        return []
