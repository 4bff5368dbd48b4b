"""The only reader of the clock; whoever waits waits here. Tests bring a clock of their own."""

import time
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps: a laptop that was shut for an hour has been silent for an hour."""


class Clock:
    """The machine's."""

    def now(self) -> float:
        """Seconds that only grow; compared with each other alone."""
        return time.clock_gettime(_CLOCK)

    def epoch_seconds(self) -> float:
        """Epoch seconds; for what has to outlive this process."""
        return time.time()

    def wait(self, inbox: "SimpleQueue[Item]", seconds: float) -> Item | None:
        """The next item of the inbox; None where none comes within so many seconds."""
        try:
            return inbox.get(timeout=max(0.0, min(seconds, 3600.0)))
        except Empty:
            return None
