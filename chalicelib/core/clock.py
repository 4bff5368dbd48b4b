"""The server's clock. Only this clock decides when something is due; the clock of an agent may be an hour wrong.

The clock is read only where a request, a message or a scheduled run arrives. All other code gets the time as an
argument. Every time in the product is a whole number of milliseconds since the Unix epoch.
"""

import time

_shifted_ms = 0


def now() -> int:
    """The current time in epoch milliseconds."""
    return int(time.time() * 1000) + _shifted_ms


def shift(seconds: float) -> None:
    """Move the clock of this process. Only the local stage does this, so that tests need not wait."""
    global _shifted_ms  # noqa: PLW0603  # a process has one clock
    _shifted_ms += int(seconds * 1000)


def offset_seconds() -> float:
    """The number of seconds by which the clock of this process has been moved."""
    return _shifted_ms / 1000
