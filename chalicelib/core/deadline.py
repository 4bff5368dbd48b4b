"""The deadline of the request, message or scheduled run that is being handled.

The entry points set it from the time that Lambda has left. Everything that waits checks it first: no request to AWS and
no pause begins that could end after it. So a caller gets a response in time, even if every request to AWS times out.

Deadlines are measured with the monotonic clock of the process, in seconds. `chalicelib.core.clock` is the clock of the
data.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

HTTP_SECONDS = 20.0
"""The longest time until the deadline of an HTTP request. API Gateway ends a request after 29 s."""

RESERVE_SECONDS = 2.0
"""The time before the end of a Lambda function that is left for the response: a function may compute for that long
without a request to AWS."""

_end: ContextVar[float] = ContextVar("deadline", default=math.inf)


def monotonic() -> float:
    """The time of the process's monotonic clock, in seconds."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def begin(context: Any, limit: float = math.inf) -> Token[float]:
    """Set the deadline, at most `limit` seconds from now. `context` is Lambda's, or None outside of Lambda.

    Returns a token for `end`. Threads that run in copies of this context have the same deadline.
    """
    if context is not None:
        limit = min(limit, context.get_remaining_time_in_millis() / 1_000 - RESERVE_SECONDS)
    return _end.set(time.monotonic() + limit)


def end(token: Token[float]) -> None:
    """Restore the deadline that applied before `begin`."""
    _end.reset(token)


@contextmanager
def within(context: Any) -> Iterator[None]:
    """Set the deadline of a message or a scheduled run for the block."""
    token = begin(context)
    try:
        yield
    finally:
        end(token)


def remaining() -> float:
    """Seconds until the deadline; negative after it, and infinite outside of a request, message or run."""
    return _end.get() - time.monotonic()
