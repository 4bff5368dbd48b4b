"""A request to stop a job, with its reason. One thread cancels; other threads check the token or listen to it."""

import threading
from collections.abc import Callable
from enum import Enum


class CancelReason(Enum):
    """Why a job stops. A higher value replaces a lower one."""

    USER_REQUEST = 1
    """A person cancelled the task: stop the work and report that the task failed."""
    TASK_LOST = 2
    """The task does not belong to this agent any more: stop the work, push nothing and report nothing."""
    AGENT_SHUTDOWN = 3
    """The agent stops now: like TASK_LOST, and programs are killed without a grace period."""


class CancelToken:
    """Is set once and stays set. Only a stronger reason replaces the reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.reason: CancelReason | None = None
        self.message = ""
        """The explanation for people."""

    def __bool__(self) -> bool:
        """Whether the job is cancelled."""
        return self.reason is not None

    def cancel(self, reason: CancelReason, message: str = "") -> None:
        """Cancel the job. Listeners are called on this thread, once for each reason that replaces a weaker one."""
        with self._lock:
            if self.reason is not None and reason.value <= self.reason.value:
                return
            self.reason, self.message = reason, message
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the job is cancelled, or now if it already is."""
        with self._lock:
            self._listeners.append(listener)
            cancelled = self.reason is not None
        if cancelled:
            listener()

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Stop calling `listener`."""
        with self._lock:
            self._listeners.remove(listener)
