"""What the attacks have in common."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
MEGABYTE = 1024**2
SECONDS = 20
ATTACKS: dict[str, Callable[[], bool]] = {}


def attack(function: Callable[[], bool]) -> Callable[[], bool]:
    ATTACKS[function.__name__] = function
    return function


def fact(name: str) -> Path:
    return Path(FACTS[name])


def call(number: int, *arguments: Any) -> int:
    """Make a system call. Raises OSError."""
    result: int = LIBC.syscall(ctypes.c_long(number), *arguments)
    return checked(result)


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def append(path: Path) -> bool:
    with path.open("r+", encoding="utf-8") as file:
        file.seek(0, os.SEEK_END)
        file.write("# changed")
    return True


def connect(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
    return True


def opens(path: str) -> bool:
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return True


def is_confined() -> bool:
    """Whether it runs in a sandbox: some attacks would end every process of a real machine."""
    return socket.gethostname() == "devflow" and "bwrap" in Path("/proc/1/cmdline").read_text(encoding="utf-8")


def can(action: Callable[[str], bool], argument: str) -> bool:
    try:
        return action(argument)
    except OSError:
        return False


def fixed() -> bool:
    write("login.py", "fixed\n")
    return True
