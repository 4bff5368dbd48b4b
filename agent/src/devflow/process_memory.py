"""Keeps the memory of this process from other processes of the same user, on Linux."""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def make_undumpable() -> None:
    """Make this process neither traceable nor dumpable (prctl(2), PR_SET_DUMPABLE).

    Its memory and its environment in /proc then belong to root. Programs that it starts are not affected.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
