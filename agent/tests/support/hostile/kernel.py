"""Attacks on and through the kernel: settings, namespaces, keys, shared memory and io_uring."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import struct
import sys
from contextlib import suppress
from pathlib import Path

from agent.tests.support.hostile.tools import FACTS, LIBC, attack, call, can, checked, fact, opens, write

KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine, 0)
"""The number of the system call."""
IO_URING_SETUP, IO_URING_ENTER = 425, 426


@attack
def change_kernel_settings() -> bool:
    """The kernel runs the program that core_pattern names: as root, and outside of every sandbox."""
    return any(can(opens, f"/proc/sys/{name}") for name in ("kernel/core_pattern", "vm/drop_caches", "kernel/shmall"))


@attack
def use_magic_keys_of_kernel() -> bool:
    return opens("/proc/sysrq-trigger")


@attack
def have_capabilities() -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("CapEff:")[1].split()[0], 16) > 0 or int(status.split("CapBnd:")[1].split()[0], 16) > 0


@attack
def gain_privileges_with_setuid_program() -> bool:
    return Path("/proc/self/status").read_text(encoding="utf-8").split("NoNewPrivs:")[1].split()[0] == "0"


@attack
def make_user_namespace() -> bool:
    """A process that is root in a namespace can mount file systems, which are in memory and count nowhere."""
    new_user = 0x10000000
    child = os.fork()
    if child == 0:
        os._exit(0 if LIBC.unshare(new_user) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@attack
def mount_file_system() -> bool:
    new_user, new_mounts = 0x10000000, 0x00020000
    child = os.fork()
    if child == 0:
        made = LIBC.unshare(new_user | new_mounts) == 0
        os._exit(0 if made and LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@attack
def enter_namespaces_of_agent() -> bool:
    with open(f"/proc/{FACTS['agent_pid']}/ns/uts", "rb") as file:  # noqa: PTH123
        checked(LIBC.setns(file.fileno(), 0))
    return True


@attack
def change_root_directory() -> bool:
    os.chroot("/")
    return True


@attack
def read_session_keyring() -> bool:
    return read_key(-3)


@attack
def read_user_keyring() -> bool:
    """A link from the session's keyring makes its keys readable."""
    link = 8
    call(KEYCTL, ctypes.c_long(link), ctypes.c_long(-4), ctypes.c_long(-3))
    return read_key(-4)


def read_key(keyring: int) -> bool:
    search, read = 10, 11
    name = FACTS["unique"].encode()
    key = call(KEYCTL, ctypes.c_long(search), ctypes.c_long(keyring), b"user", name, ctypes.c_long(0))
    content = ctypes.create_string_buffer(64)
    call(KEYCTL, ctypes.c_long(read), ctypes.c_long(key), content, ctypes.c_long(64))
    return b"secret" in content.value


@attack
def read_shared_memory_segment() -> bool:
    read_only = 0o10000
    segment = checked(LIBC.shmget(FACTS["segment"], 0, 0))
    LIBC.shmat.restype = ctypes.c_void_p
    address = LIBC.shmat(segment, None, read_only)
    return ctypes.string_at(address, 6) == b"secret"


@attack
def open_private_key_with_io_uring() -> bool:
    """io_uring opens files without the system call that filters usually look at."""
    parameters = ctypes.create_string_buffer(120)
    ring = call(IO_URING_SETUP, ctypes.c_uint(2), parameters)
    entries = struct.unpack_from("I", parameters, 0)[0]
    queue_offsets, completion_offsets = (
        struct.unpack_from("8I", parameters, 40),
        struct.unpack_from("6I", parameters, 80),
    )
    size = max(queue_offsets[6] + 4 * entries, completion_offsets[5] + 16 * 2 * entries)
    with mmap.mmap(ring, size, offset=0) as queue, mmap.mmap(ring, 64 * entries, offset=0x10000000) as submissions:
        path = ctypes.create_string_buffer(str(fact("key")).encode())
        openat, current_directory = 18, -100
        fields = (openat, 0, 0, current_directory, 0, ctypes.addressof(path), 0, os.O_RDONLY, 7)
        submissions[:40] = struct.pack("BBHiQQIIQ", *fields)
        struct.pack_into("I", queue, queue_offsets[6], 0)
        struct.pack_into("I", queue, queue_offsets[1], 1)
        call(IO_URING_ENTER, ctypes.c_uint(ring), ctypes.c_uint(1), ctypes.c_uint(1), ctypes.c_uint(1), None, None)
        descriptor: int = struct.unpack_from("i", queue, completion_offsets[5] + 8)[0]
    if descriptor < 0:
        raise OSError(-descriptor, os.strerror(-descriptor))
    return "private" in os.read(descriptor, 64).decode()


@attack
def leave_control_group() -> bool:
    """A process that writes its id into another group's list leaves its limits. `release_agent` runs a program."""
    return any(can(opens, str(path)) for root in ("/sys/fs/cgroup",) for path in Path(root).rglob("cgroup.procs"))


@attack
def dump_core() -> bool:
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    write("login.py", "fixed\n")
    sys.stdout.flush()
    os.abort()
