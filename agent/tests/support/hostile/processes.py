"""Attacks on other processes, and processes that outlive their engine."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.tests.support.hostile.tools import FACTS, LIBC, attack, checked, is_confined


@attack
def list_processes_of_machine() -> bool:
    return Path(f"/proc/{FACTS['bystander']}/cmdline").exists()


@attack
def read_environment_of_process() -> bool:
    return b"bystander-secret" in Path(f"/proc/{FACTS['bystander']}/environ").read_bytes()


@attack
def read_environment_of_agent() -> bool:
    return b"ghp_" in Path(f"/proc/{FACTS['agent_pid']}/environ").read_bytes()


@attack
def read_memory_of_agent() -> bool:
    os.close(os.open(f"/proc/{FACTS['agent_pid']}/mem", os.O_RDONLY))
    return True


@attack
def open_files_of_agent() -> bool:
    process = Path(f"/proc/{FACTS['agent_pid']}")
    return len(list((process / "fd").iterdir())) > 0 and (process / "cwd").exists() and (process / "root").exists()


@attack
def kill_process() -> bool:
    os.kill(FACTS["to_kill"], signal.SIGKILL)
    return True


@attack
def stop_process() -> bool:
    os.kill(FACTS["to_stop"], signal.SIGSTOP)
    return True


@attack
def trace_process() -> bool:
    attach, detach = 16, 17
    checked(LIBC.ptrace(attach, FACTS["bystander"], None, None))
    os.waitpid(FACTS["bystander"], 0x40000000)  # __WALL: it is not a child
    checked(LIBC.ptrace(detach, FACTS["bystander"], None, None))
    return True


@attack
def read_memory_of_process() -> bool:
    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    content = ctypes.create_string_buffer(16)
    local = Vector(ctypes.addressof(content), 16)
    remote = Vector(FACTS["bystander_address"], 16)
    read = LIBC.process_vm_readv
    read.restype = ctypes.c_ssize_t
    checked(read(FACTS["bystander"], ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
    return content.raw == b"secret-in-memory"


@attack
def kill_everything() -> bool:
    """In a sandbox it ends only what is in there, and not the first process, which the kernel protects."""
    if is_confined():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            os.kill(1, number)
        os.kill(-1, signal.SIGKILL)
    return False


@attack
def kill_supervisor_and_live_on() -> bool:
    live_on(lambda: os.kill(FACTS["parent"], signal.SIGKILL) if FACTS["parent"] > 1 else None)
    time.sleep(1)
    return False


@attack
def live_on_in_another_session() -> bool:
    live_on(lambda: None)
    return False


@attack
def live_on_and_ignore_signals() -> bool:
    def ignore() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    live_on(ignore)
    return False


def live_on(prepare: Callable[[], object]) -> None:
    """Start a process that leaves the session, the terminal and its parent, and changes a file until it is killed."""
    FACTS["parent"] = os.getppid()
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 3)
    prepare()
    while True:
        with suppress(OSError), open("login.py", "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write("planted\n")
        time.sleep(0.01)
