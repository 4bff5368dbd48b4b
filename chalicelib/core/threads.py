"""Calls that run at the same time, in a bounded number of threads."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_concurrently(call: Callable[[T], R], items: Sequence[T], limit: int) -> list[R]:
    """Call a function with each item, at most `limit` at the same time. Returns the results in the order of the items.

    The threads run in copies of the caller's context, so the metrics that they record belong to the caller. If calls
    raise errors, the others still run. Then the error of the first such item is raised.
    """
    if len(items) <= 1:
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # most requests need no threads

    with ThreadPoolExecutor(min(limit, len(items))) as threads:
        futures = [threads.submit(copy_context().run, call, item) for item in items]
    return [future.result() for future in futures]
