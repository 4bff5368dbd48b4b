"""Supervises one program and all of its descendants. devflow.program starts it as a process of its own.

    python supervisor.py FD OPTIONS PROGRAM ARGUMENT...

FD is a socket to the agent. OPTIONS is a JSON object:

    grace     seconds between SIGTERM and SIGKILL after the agent has ended
    wrappers  how many processes of a sandbox are between this process and the program: they get no SIGTERM
    rlimits   limits of each process: names of `resource`, for example {"RLIMIT_NOFILE": 1024}
    totals    limits of all processes together: {"memory": bytes, "processes": number, "disk": bytes}
    disk      the directories whose size `disk` limits

On Linux this process is a subreaper: a process whose parent has ended becomes its child, also one that has a session
of its own. When the program ends, the supervisor kills everything that is left, waits until all of it has ended, and
only then writes the outcome to the socket: {"status": exit status, or minus the signal}, with {"limit": text} if a
limit was exceeded, or {"error": text}. So the agent never looks at files that a process may still change.

The agent writes T to the socket (send SIGTERM to all) or K (SIGKILL). When the agent ends, even if it is killed, the
socket closes. The supervisor then sends SIGTERM, and SIGKILL after `grace`. So no program keeps working on a task that
the platform has given to another agent.

It imports few modules, and none of devflow, because it has to start quickly.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0
"""How long the supervisor tries to end all processes. One that waits for a broken disk or network cannot be killed."""
_MEASURE_SECONDS = 0.5
"""Measuring takes a few milliseconds."""
_DISK_SHARE = 20
"""Measuring the disk takes at most one part of so many of the time."""
_PAGE = resource.getpagesize()
_SIGNAL_BASE = 128
"""A sandbox exits with this plus the number of the signal that killed its program."""


def main() -> None:
    number, text, *command = sys.argv[1:]
    options = json.loads(text)
    with socket.socket(fileno=int(number)) as agent:
        outcome = _Supervisor(agent, options).run(command)
        with suppress(OSError):  # the agent has ended
            agent.sendall(json.dumps(outcome).encode())


class _Supervisor:
    def __init__(self, agent: socket.socket, options: dict[str, Any]) -> None:
        self._agent, self._options = agent, options
        self._wrappers = int(options.get("wrappers", 0))
        self._status: int | None = None
        self._kill_at: float | None = None
        self._program = 0
        self._started: subprocess.Popen[bytes] | None = None
        self._limit = ""
        self._meter = _Meter(options.get("totals", {}), options.get("disk", []))

    def run(self, command: list[str]) -> dict[str, Any]:
        _become_subreaper()
        # A handler instead of SIG_IGN, which the program would inherit. SIGTERM must end the program only.
        signal.signal(signal.SIGTERM, lambda *_: None)
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            limit = _make_limiter(self._options.get("rlimits", {}))
            # preexec_fn is unsafe with threads only, and this process has one. The object is kept: its end would
            # collect the status of a program that has already ended.
            self._started = subprocess.Popen(command, process_group=0, preexec_fn=limit)  # noqa: PLW1509
            self._program = self._started.pid
        except OSError as error:
            return {"error": f"{command[0]}: {error.strerror}"}
        except subprocess.SubprocessError as error:
            return {"error": f"{command[0]}: {error}"}
        self._watch(reader)
        if not self._end_all():
            return {"error": "Processes of the program cannot be ended"}
        status = -signal.SIGKILL if self._status is None else self._status
        if self._wrappers and status > _SIGNAL_BASE:
            status = _SIGNAL_BASE - status
        return {"status": status} | ({"limit": self._limit} if self._limit else {})

    def _watch(self, reader: int) -> None:
        """Return when the program has ended, or must be killed."""
        sources: list[Any] = [reader, self._agent]
        while True:
            if self._reap() or self._status is not None:
                return
            readable, _, _ = select.select(sources, [], [], self._seconds_to_wait())
            if reader in readable:
                with suppress(BlockingIOError):
                    os.read(reader, 4096)
            if self._agent in readable:
                request = self._receive()
                if request == b"K":
                    return
                self._signal_program(signal.SIGTERM)
                if not request:
                    sources = [reader]
                    self._kill_at = time.monotonic() + float(self._options["grace"])
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                return
            self._limit = self._meter.find_exceeded_limit()
            if self._limit:
                return

    def _receive(self) -> bytes:
        """Return b"T" or b"K", or nothing if the agent has ended."""
        try:
            requests = self._agent.recv(64)
        except OSError:
            return b""
        return b"K" if b"K" in requests else requests[:1]

    def _seconds_to_wait(self) -> float | None:
        due = [at for at in (self._kill_at, self._meter.next_at) if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _signal_program(self, number: int) -> None:
        """Send a signal to the program and its descendants, but not to the processes of the sandbox around it."""
        spared = {self._program} if self._wrappers else set()
        for process in _descendants():
            if process.pid in spared:
                continue
            if self._wrappers > 1 and process.parent == self._program:
                continue
            _kill(process.pid, number)
        if not _has_proc():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._program, number)

    def _reap(self) -> bool:
        """Collect the children that have ended. Returns whether there are no children left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._program:
                self._status = os.waitstatus_to_exitcode(status)

    def _end_all(self) -> bool:
        """Kill every descendant and wait for its end. Returns whether all have ended."""
        end = time.monotonic() + _KILL_SECONDS
        # If the program has ended, its group may have no process any more, and another one its number. Without /proc
        # the group is all that can be found.
        if self._status is None or not _has_proc():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._program, signal.SIGKILL)
        while not self._reap():
            for process in _descendants():
                _kill(process.pid, signal.SIGKILL)
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True


class _Process:
    """What /proc tells about a process."""

    __slots__ = ("memory", "parent", "pid")

    def __init__(self, pid: int, parent: int, memory: int) -> None:
        self.pid, self.parent, self.memory = pid, parent, memory


class _Meter:
    """Measures what all processes use together."""

    def __init__(self, limits: dict[str, int], disk: list[str]) -> None:
        self._limits, self._disk = limits, disk
        self.next_at = time.monotonic() + _MEASURE_SECONDS if limits else None
        """When to measure again, or None."""
        self._disk_at = 0.0

    def find_exceeded_limit(self) -> str:
        """Return which limit is exceeded, for people. Returns nothing if none is, or if it is too early."""
        now = time.monotonic()
        if self.next_at is None or now < self.next_at:
            return ""
        self.next_at = now + _MEASURE_SECONDS
        processes = list(_descendants())
        used = {"memory": sum(process.memory for process in processes), "processes": len(processes)}
        if self._disk and "disk" in self._limits and now >= self._disk_at:
            used["disk"] = sum(map(_disk_usage, self._disk))
            self._disk_at = now + _DISK_SHARE * (time.monotonic() - now)
        for name, value in used.items():
            if value > self._limits.get(name, value):
                return f"The limit of {self._limits[name]} for {name} was exceeded"
        return ""


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _make_limiter(limits: dict[str, int]) -> Callable[[], None] | None:
    def limit() -> None:
        for name, value in limits.items():
            number = getattr(resource, name, None)
            if number is None:
                continue
            _, most = resource.getrlimit(number)
            lower = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(number, (lower, lower))

    return limit if limits else None


def _descendants() -> Iterator[_Process]:
    """Yield the running descendants of this process, parents first. Yields none where there is no /proc."""
    children: dict[int, list[_Process]] = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208  # pathlib is slow to import
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
        except OSError:  # it has ended
            continue
        process = _Process(int(name), int(fields[1]), int(fields[21]) * _PAGE)
        if fields[0] not in (b"Z", b"X"):
            children.setdefault(process.parent, []).append(process)
        else:  # a zombie may still have children for a moment, but uses nothing
            children.setdefault(process.parent, [])
    pending = list(children.get(os.getpid(), ()))
    while pending:
        process = pending.pop(0)
        yield process
        pending += children.get(process.pid, ())


def _has_proc() -> bool:
    return os.path.isdir("/proc/self")  # noqa: PTH112  # pathlib is slow to import


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _disk_usage(directory: str) -> int:
    """Return the bytes that the files in a directory use on disk."""
    total, pending = 0, [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # removed meanwhile, or not readable
            continue
    return total


if __name__ == "__main__":
    main()
