"""The server's clock: the only one that decides (an agent's may be an hour off).

Read at the edges alone (a request, a message, a scheduled run); from there on time is an argument.
Instants are whole milliseconds since the Unix epoch, everywhere in the product.
"""

import time

_shifted_ms = 0


def now() -> int:
    """The present instant in epoch milliseconds."""
    return int(time.time() * 1000) + _shifted_ms


def shift(seconds: float) -> None:
    """Move the clock of this process. Only the local stage does this, so that tests need not wait."""
    global _shifted_ms  # noqa: PLW0603  # one clock a process, on purpose
    _shifted_ms += int(seconds * 1000)


def offset_seconds() -> float:
    """By how many seconds this process's clock has been moved."""
    return _shifted_ms / 1000
