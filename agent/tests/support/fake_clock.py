"""A clock that stands still, but for whoever waits: then it jumps."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from devflow.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

Item = TypeVar("Item")


class FakeClock(Clock):
    """Each wait on the thread of the test takes no time and moves the clock to its end; other threads wait for work."""

    def __init__(self, waited: Callable[[float], None] = lambda _now: None) -> None:
        """`waited` is called with the new time after each wait."""
        self.time = 1000.0
        self.epoch = 1_700_000_000.0
        self.waits: list[float] = []
        self._owner = threading.get_ident()
        self._waited = waited

    def now(self) -> float:
        return self.time

    def epoch_seconds(self) -> float:
        return self.epoch + self.time

    def wait(self, inbox: SimpleQueue[Item], seconds: float) -> Item | None:
        if threading.get_ident() != self._owner:
            return inbox.get()
        try:
            return inbox.get_nowait()
        except Empty:
            self.time += seconds
            self.waits.append(seconds)
            self._waited(self.time)
            return None
