"""Takes from a program what namespaces do not: the keys of the session, and sockets without a file. Linux only.

The supervisor calls it in the new process, before the sandbox starts. It imports few modules for that reason.
"""

import ctypes
import os
import struct

_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
"""The number of the system call keyctl(2). The C library has no function for it."""
_JOIN_SESSION_KEYRING = 1
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
"""These numbers are the same on all processors."""
_LANDLOCK_VERSION = 1 << 0
_SCOPES_VERSION = 6
"""The version of Landlock (Linux 6.12) that introduced scopes."""
_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
_PR_SET_NO_NEW_PRIVS = 38


def confine() -> None:
    """Confine this process and those that it starts. What the kernel does not support is left out."""
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    # A session keyring is inherited by processes, also by those in another user namespace.
    if number := _KEYCTL_NUMBERS.get(os.uname().machine):
        libc.syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), None)
    if find_landlock_version() >= _SCOPES_VERSION:
        _restrict_abstract_sockets(libc)


def find_landlock_version() -> int:
    """Return the version of Landlock's interface. Returns 0 or less if the kernel does not have it."""
    arguments = (ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_VERSION))
    return int(ctypes.CDLL(None).syscall(*arguments))


def _restrict_abstract_sockets(libc: ctypes.CDLL) -> None:
    """Keep this process from abstract Unix sockets of others. They belong to the network namespace and have no file."""
    rules = ctypes.create_string_buffer(struct.pack("QQQ", 0, 0, _SCOPE_ABSTRACT_UNIX_SOCKET), 24)
    ruleset = libc.syscall(ctypes.c_long(_LANDLOCK_CREATE_RULESET), rules, ctypes.c_size_t(24), ctypes.c_uint(0))
    if ruleset >= 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint(0))
        os.close(ruleset)
