"""The only module that reads the clock or waits. Tests replace the clock with a fake one."""

import time
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Keeps running while the machine sleeps: a laptop that slept for an hour has been silent for an hour."""


class Clock:
    """The machine's clock."""

    def now(self) -> float:
        """Return seconds from a clock that never goes back. Only differences between two values have a meaning."""
        return time.clock_gettime(_CLOCK)

    def epoch_seconds(self) -> float:
        """Return the seconds since 1970, for values that outlive this process."""
        return time.time()

    def wait(self, inbox: "SimpleQueue[Item]", seconds: float) -> Item | None:
        """Return the next item of the inbox, or None if none arrives within `seconds`."""
        try:
            return inbox.get(timeout=max(0.0, min(seconds, 3600.0)))
        except Empty:
            return None
