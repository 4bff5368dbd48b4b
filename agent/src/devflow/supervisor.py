"""Supervises one program and all of its descendants. devflow.program starts it as a process of its own.

    python supervisor.py FD OPTIONS PROGRAM ARGUMENT...

FD is a socket to the agent. OPTIONS is a JSON object:

    grace     seconds between SIGTERM and SIGKILL after the agent has ended
    wrappers  how many processes of a sandbox are between this process and the program: they get no SIGTERM
    group     the directory of a control group for the program (devflow.control_group)
    confined  whether to take keys and sockets from the program, as devflow.confinement does
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

It imports few modules, because it has to start quickly.
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
from collections.abc import Callable
from contextlib import suppress
from typing import Any

if __name__ == "__main__":  # Python was started without the directories of installed packages
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120

from devflow.confinement import confine
from devflow.process_table import find_descendants
from devflow.resource_meter import Meter

_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0
"""How long the supervisor tries to end all processes. One that waits for a broken disk or network cannot be killed."""
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
        self._group = str(options.get("group", ""))
        self._meter = Meter(options.get("totals", {}), options.get("disk", []))

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
            prepare = _make_preparation(self._options)
            # preexec_fn is unsafe with threads only, and this process has one. The object is kept: its end would
            # collect the status of a program that has already ended.
            self._started = subprocess.Popen(command, process_group=0, preexec_fn=prepare)  # noqa: PLW1509
            self._program = self._started.pid
        except OSError as error:
            return {"error": f"{command[0]}: {error.strerror}"}
        except subprocess.SubprocessError as error:
            return {"error": f"{command[0]}: {error}"}
        self._watch(reader)
        if not self._end_all():
            return {"error": "Processes of the program cannot be ended"}
        self._limit = self._limit or self._find_limit_of_group()
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

    def _find_limit_of_group(self) -> str:
        """Return the limit that made the kernel end a process of the control group. Returns nothing if none did."""
        with suppress(OSError), open(f"{self._group}/memory.events", encoding="ascii") as file:  # noqa: PTH123
            counts = dict(line.split() for line in file)
            if int(counts.get("oom_kill", 0)):
                return f"The limit of {self._options['totals']['memory']} for memory was exceeded"
        return ""

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
        for process in find_descendants():
            if process.ended or process.pid in spared:
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
        if self._group:  # all of its processes at once, also those that are hard to find
            _write(f"{self._group}/cgroup.kill", "1")
        while not self._reap():
            for process in find_descendants():
                _kill(process.pid, signal.SIGKILL)
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _make_preparation(options: dict[str, Any]) -> Callable[[], None] | None:
    """Return what the program's process does before it becomes the program."""
    limits, confined, group = options.get("rlimits", {}), options.get("confined", False), options.get("group")

    def prepare() -> None:
        if group:
            _write(f"{group}/cgroup.procs", "0")
        if confined:
            confine()
        for name, value in limits.items():
            number = getattr(resource, name, None)
            if number is None:
                continue
            _, most = resource.getrlimit(number)
            lower = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(number, (lower, lower))

    return prepare if limits or confined or group else None


def _write(path: str, text: str) -> None:
    with suppress(OSError), open(path, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(text)


def _has_proc() -> bool:
    return os.path.isdir("/proc/self")  # noqa: PTH112  # pathlib is slow to import


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
