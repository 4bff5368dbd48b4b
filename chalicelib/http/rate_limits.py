"""Rate limits: fixed windows of one minute, counted in an item that is written anyway.

The counts are in the map `calls` of the caller's own item. The name of a count consists of the rate limit's prefix and
the minute. The write that checks the caller's token also increments the count, so a limit needs no request of its own.
The same write removes the previous minutes. Older minutes, from before a pause of the caller, are removed once there
are several of them.

Windows are fixed, because `X-RateLimit-Reset` of the specification is an epoch second.

Once a container has rate-limited a caller, it rejects that caller from memory until the window resets
(`raise_if_cached`). If DynamoDB cannot write the count, callers of the API are not counted, as long as their token can
be read and checked. Logins are rejected then.
"""

from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn

from chalicelib import dynamodb
from chalicelib.core.errors import RateLimited, Unavailable
from chalicelib.core.settings import MINUTE, settings
from chalicelib.dynamodb.expressions import Clause, clause

_REMOVED_WINDOWS = 3
"""The number of previous minutes that each counted write removes."""

_CLEANUP_THRESHOLD = 8
"""The number of stale minutes from which an extra write removes them."""


class RateLimit(NamedTuple):
    """A limit of calls per minute. Its counts have names that start with `prefix`; clients see `name`."""

    prefix: str
    limit: int
    name: str

    def window_key(self, now: int) -> str:
        return f"{self.prefix}{now // MINUTE}"


AGENTS_API = RateLimit("a", 100, "agents API")
TASKS_API = RateLimit("t", 1_000, "tasks API")
COMMANDS = RateLimit("c", 100, "agent polls")
HEARTBEAT = RateLimit("h", 10, "agent heartbeats")
WEBHOOKS_API = RateLimit("w", 100, "webhooks API")
LOGIN = RateLimit("l", 10, "login attempts")
LINKS = RateLimit("k", 10, "magic link requests")
LINK_READS = RateLimit("r", 30, "magic link reads")
SLACK = RateLimit("s", 10, "Slack logins")
ACCOUNT = RateLimit("m", 100, "account API")


class Quota(NamedTuple):
    """The values of the three X-RateLimit headers. `reset` is in epoch seconds."""

    limit: int
    remaining: int
    reset: int


current_quota: ContextVar[Quota | None] = ContextVar("quota", default=None)
"""The quota of the current request. The store that counts the request sets it."""


def increment(calls: Any, rate_limit: RateLimit, now: int) -> Clause:
    """The update that counts one call. `calls` is the PynamoDB map attribute of the caller's model."""
    minute = now // MINUTE
    return _increment(
        calls,
        rate_limit.window_key(now),
        *(f"{rate_limit.prefix}{minute - ago}" for ago in range(1, _REMOVED_WINDOWS + 1)),
    )


@clause
def _increment(calls: Any, current: str, *previous: str) -> Any:
    window = calls[current]
    removals = (calls[each].remove() for each in previous)
    return [window.set((window | 0) + 1), *removals]  # ADD supports only top-level attributes


def within_limit(calls: Any, rate_limit: RateLimit, now: int) -> Clause:
    """The condition that the limit allows one more call."""
    return _below_limit(calls, rate_limit.window_key(now), rate_limit.limit if settings.rate_limits else 1_000_000_000)


@clause
def _below_limit(calls: Any, window: str, limit: int) -> Any:
    return calls[window].does_not_exist() | (calls[window] < limit)


_last_counts: dict[tuple[str, str], int] = {}
"""The last count that this container has read, by caller and window."""


def record(counts: dict[str, int], rate_limit: RateLimit, now: int, caller: str = "") -> None:
    """Store the count after a write, for the headers of the response. `counts` is the map `calls` after the write."""
    used = counts.get(rate_limit.window_key(now), 0)
    if len(_last_counts) >= 1_000:  # noqa: PLR2004  # bounds the memory of a container
        _last_counts.clear()
    _last_counts[caller, rate_limit.window_key(now)] = used
    _set_quota(rate_limit, used, now)


def _set_quota(rate_limit: RateLimit, used: int, now: int) -> None:
    current_quota.set(Quota(rate_limit.limit, max(0, rate_limit.limit - used), (now // MINUTE + 1) * 60))


def record_estimate(caller: str, rate_limit: RateLimit, now: int) -> None:
    """Like `record`, after a transaction. A transaction returns no counts, so the last known count plus one is used."""
    window = rate_limit.window_key(now)
    record({window: _last_counts.get((caller, window), 0) + 1}, rate_limit, now, caller)


def report_uncounted(caller: str, rate_limit: RateLimit, now: int) -> None:
    """Set the quota headers of the response to a known caller whose call is rejected and not counted.

    They have the last count that this container has read, so the rejection needs no request to DynamoDB.
    """
    _set_quota(rate_limit, _last_counts.get((caller, rate_limit.window_key(now)), 0), now)


def report_smaller(quota: Quota | None) -> None:
    """Let the headers of the response have this quota, but no more remaining calls than the current quota has."""
    current = current_quota.get()
    if quota is not None and current is not None:
        current_quota.set(quota._replace(remaining=min(quota.remaining, current.remaining)))


_rate_limited_callers: set[tuple[str, str]] = set()
"""The callers that this container has rate-limited, with the window. A count never decreases within its window."""


def raise_if_exhausted(counts: dict[str, int], rate_limit: RateLimit, now: int, caller: str) -> None:
    """Raise RateLimited if the calls of this minute have reached the limit, and store this in memory.

    `caller` identifies one token (or one network address). Another token of the same user may have been revoked, and
    must then be rejected for that reason.
    """
    if settings.rate_limits and counts.get(rate_limit.window_key(now), 0) >= rate_limit.limit:
        if len(_rate_limited_callers) >= 1_000:  # noqa: PLR2004  # bounds the memory of a container
            _rate_limited_callers.clear()
        _rate_limited_callers.add((caller, rate_limit.window_key(now)))
        _raise_rate_limited(rate_limit, now)


def raise_if_cached(caller: str, rate_limit: RateLimit, now: int) -> None:
    """Raise RateLimited if this container has rate-limited the caller in this minute. Sends no request to DynamoDB."""
    if settings.rate_limits and (caller, rate_limit.window_key(now)) in _rate_limited_callers:
        _raise_rate_limited(rate_limit, now)


def _raise_rate_limited(rate_limit: RateLimit, now: int) -> NoReturn:
    _set_quota(rate_limit, rate_limit.limit, now)
    wait = (MINUTE - now % MINUTE + 999) // 1_000
    message = f"Rate limit exceeded: {rate_limit.limit} calls per minute ({rate_limit.name}). Retry in {wait} seconds."
    raise RateLimited(message, retry_after=wait)


def remove_stale_windows(item: dynamodb.Item, calls: Any, counts: dict[str, int], now: int) -> None:
    """Remove windows that no counted write removes from the attribute `calls` of an item. No request if there are few.

    A later call removes them if this one fails, or if the item was deleted.
    """
    stale = stale_windows(counts, now)
    if stale:
        with suppress(Unavailable, dynamodb.ConditionFailed):
            dynamodb.update_item(item, [dynamodb.remove(calls[window]) for window in stale], dynamodb.exists(calls))


def stale_windows(counts: dict[str, int], now: int) -> list[str]:
    """Windows that no counted write removes. Empty until there are enough for an extra write."""
    oldest = now // MINUTE - _REMOVED_WINDOWS
    stale = [window for window in counts if int(window[1:]) < oldest]
    return stale if len(stale) >= _CLEANUP_THRESHOLD else []
