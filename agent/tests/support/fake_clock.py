"""A clock that only moves when the test waits."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from devflow.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

Item = TypeVar("Item")


class FakeClock(Clock):
    """A wait on the test's thread returns at once and moves the clock to its end. Other threads wait for items."""

    def __init__(self, on_wait: Callable[[float], None] = lambda _now: None) -> None:
        """`on_wait` is called with the new time after each wait."""
        self.time = 1000.0
        self.epoch = 1_700_000_000.0
        self.waits: list[float] = []
        self._owner = threading.get_ident()
        self._on_wait = on_wait

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
            self._on_wait(self.time)
            return None
