"""That a piece of work is to stop, and why: asked by one thread, heard by others."""

import threading
from collections.abc import Callable
from enum import Enum


class CancelReason(Enum):
    """The later ones are the stronger."""

    USER_REQUEST = 1
    """By a person: end the work, and report that."""
    TASK_LOST = 2
    """It is not this agent's any more: end the work, push nothing, report nothing."""
    AGENT_SHUTDOWN = 3
    """The agent itself ends: like dropped, and there is no time to lose."""


class CancelToken:
    """Set once and for all; a stronger reason replaces a weaker one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.reason: CancelReason | None = None
        self.message = ""
        """For people: why."""

    def __bool__(self) -> bool:
        return self.reason is not None

    def cancel(self, reason: CancelReason, message: str = "") -> None:
        """Ask for the stop. Listeners are called on this thread, each time that there is a stronger reason."""
        with self._lock:
            if self.reason is not None and reason.value <= self.reason.value:
                return
            self.reason, self.message = reason, message
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call this when the stop is asked for; at once where it was already."""
        with self._lock:
            self._listeners.append(listener)
            asked = self.reason is not None
        if asked:
            listener()

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Do not call it any more."""
        with self._lock:
            self._listeners.remove(listener)
