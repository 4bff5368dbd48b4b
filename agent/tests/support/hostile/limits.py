"""Engines that use up something. Each stops at a bound that does not hurt the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent.tests.support.hostile.tools import MEGABYTE, SECONDS, attack


@attack
def start_many_processes() -> bool:
    started = [subprocess.Popen(["sleep", str(SECONDS)]) for _ in range(120)]
    return any(process.wait() == 0 for process in started)


@attack
def fill_memory() -> bool:
    used = []
    for _ in range(100):
        used.append(b"x" * 4 * MEGABYTE)
        time.sleep(0.005)
    time.sleep(SECONDS)
    return bool(used)


@attack
def fill_memory_with_unmapped_files() -> bool:
    """It belongs to no process: such memory is not in the resident set."""
    files = [os.memfd_create(str(number)) for number in range(4)]
    for _ in range(100):
        for descriptor in files:
            os.write(descriptor, b"x" * MEGABYTE)
        time.sleep(0.005)
    time.sleep(SECONDS)
    return True


@attack
def fill_disk() -> bool:
    return fill("big")


@attack
def fill_disk_with_deleted_file() -> bool:
    return fill("deleted", delete=True)


@attack
def fill_disk_in_unreadable_directory() -> bool:
    Path("hidden").mkdir()
    descriptor = os.open("hidden", os.O_RDONLY)
    with open(os.open("big", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor), "wb") as file:  # noqa: PTH123
        Path("hidden").chmod(0)
        file.writelines(b"x" * MEGABYTE for _ in range(80))
    time.sleep(SECONDS)
    return True


def fill(name: str, *, delete: bool = False) -> bool:
    with Path(name).open("wb") as file:
        if delete:
            Path(name).unlink()
        for _ in range(80):
            file.write(b"x" * MEGABYTE)
            file.flush()
        time.sleep(SECONDS)
    return True


@attack
def make_many_files() -> bool:
    for number in range(16_000):
        os.close(os.open(f"file-{number}", os.O_CREAT | os.O_WRONLY))
    time.sleep(SECONDS)
    return True


@attack
def make_deep_directories() -> bool:
    for _ in range(500):
        Path("directory").mkdir()
        os.chdir("directory")
    time.sleep(SECONDS)
    return True


@attack
def make_sparse_file() -> bool:
    """It uses nothing on disk until somebody copies it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Path("sparse").open("wb") as file:
        file.truncate(1 << 40)
    return True


@attack
def open_many_files() -> bool:
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(600)]
    return len(files) == 600


@attack
def print_line_without_end() -> bool:
    sys.stdout.write("y" * MEGABYTE)
    return False
