"""Ends the processes of a supervisor that was killed, by the kernel for example, or by an engine without a sandbox.

On Linux, the agent becomes the parent of such processes (`adopt_orphans`). They are its only children that have a
session of their own, apart from the supervisors.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from devflow.process_table import Process, find_descendants

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS = 0.01

_lock = threading.Lock()
"""Held while a supervisor starts: until then, it looks like an orphan."""
_supervisors: set[int] = set()


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose parents have ended (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_supervisor(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Start a process that has its own session and ends its descendants. Call `forget_supervisor` at its end."""
    with _lock:
        process = start()
        _supervisors.add(process.pid)
        return process


def forget_supervisor(pid: int) -> None:
    with _lock:
        _supervisors.discard(pid)


def end_orphans(seconds: float) -> None:
    """Kill all orphans, and wait up to `seconds` for their end."""
    end = time.monotonic() + seconds
    own_session = os.getsid(0)

    def is_orphan(process: Process) -> bool:
        return process.session != own_session and process.pid not in _supervisors

    while time.monotonic() < end:
        with _lock:
            found = find_descendants(is_orphan)
            for process in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL)
                if process.ended and process.parent == os.getpid():
                    with suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
        if not found:
            return
        time.sleep(_PAUSE_SECONDS)
