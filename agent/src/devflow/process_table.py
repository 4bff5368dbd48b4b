"""The processes of this machine, as /proc lists them. It imports few modules, because the supervisor uses it."""

import os
import resource
from collections.abc import Callable, Iterator

_PAGE = resource.getpagesize()
_PARENT, _SESSION, _MEMORY = 1, 3, 21
"""Fields of /proc/PID/stat, counted from the one after the name."""


class Process:
    """What /proc tells about a process."""

    __slots__ = ("ended", "memory", "parent", "pid", "session")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid, self.parent, self.session = pid, int(fields[_PARENT]), int(fields[_SESSION])
        self.memory = int(fields[_MEMORY]) * _PAGE
        """Bytes in memory."""
        self.ended = fields[0] in (b"Z", b"X")
        """Whether it is a zombie: it may still have children for a moment, but uses nothing."""


def list_processes() -> Iterator[Process]:
    """Yield all processes. Yields none where there is no /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208  # pathlib is slow to import
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    yield Process(int(name), file.read().rpartition(b")")[2].split())
            except OSError:  # it has ended
                continue


def find_descendants(belongs: Callable[[Process], bool] = lambda _: True) -> list[Process]:
    """Return the descendants of this process, parents first. Below a child that does not belong, none is returned."""
    children: dict[int, list[Process]] = {}
    for process in list_processes():
        children.setdefault(process.parent, []).append(process)
    found = [child for child in children.get(os.getpid(), ()) if belongs(child)]
    for process in found:  # it grows meanwhile
        found += children.get(process.pid, ())
    return found
