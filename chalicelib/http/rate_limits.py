"""How often somebody may call: fixed windows of a minute, counted in the item that is written anyway.

The count lives in the map `calls` of the caller's own item, under a name made of the meter and the minute, and
goes up in the very write that checks the caller's token: a limit costs no request of its own. The same write
removes the minutes just before; what a pause left behind is removed once it is more than a handful.

Windows are fixed, as the spec's `X-RateLimit-Reset` (an epoch second) implies.

A caller who was refused costs no further request in that minute: this container remembers (`refuse_if_known`). Where
the count cannot be written for DynamoDB's reasons, the API's callers are let in uncounted as long as their token can be
read and checked; logging in is not.
"""

from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn

from chalicelib.core.errors import RateLimited
from chalicelib.core.settings import MINUTE, settings
from chalicelib.dynamodb.expressions import Clause, clause

_REMOVED_WINDOWS = 3
"""How many minutes before the present one each counted write removes."""

_CLEANUP_THRESHOLD = 8
"""More leftover minutes than this are worth a write of their own."""


class RateLimit(NamedTuple):
    """One kind of limit: at most `limit` calls a minute, counted under `letter`."""

    prefix: str
    limit: int
    name: str

    def window_key(self, now: int) -> str:
        return f"{self.prefix}{now // MINUTE}"


AGENTS_API = RateLimit("a", 100, "the agents API")
TASKS_API = RateLimit("t", 1_000, "the tasks API")
COMMANDS = RateLimit("c", 100, "polling")
HEARTBEAT = RateLimit("h", 10, "heartbeats")
WEBHOOKS_API = RateLimit("w", 100, "the webhooks API")
LOGIN = RateLimit("l", 10, "logging in")
LINKS = RateLimit("k", 10, "magic links")
SLACK = RateLimit("s", 10, "coming back from Slack")
ACCOUNT = RateLimit("m", 100, "your account")


class Quota(NamedTuple):
    """What is left: the three X-RateLimit headers. `reset` is in epoch seconds."""

    limit: int
    remaining: int
    reset: int


current_quota: ContextVar[Quota | None] = ContextVar("quota", default=None)
"""The quota of the request being answered, set by whichever store counted it."""


def increment(calls: Any, rate_limit: RateLimit, now: int) -> Clause:
    """What an update does to count one call; `calls` is the PynamoDB map attribute of the caller's model."""
    minute = now // MINUTE
    return _increment(
        calls,
        rate_limit.window_key(now),
        *(f"{rate_limit.prefix}{minute - ago}" for ago in range(1, _REMOVED_WINDOWS + 1)),
    )


@clause
def _increment(calls: Any, present: str, *gone: str) -> Any:
    slot = calls[present]
    return [slot.set((slot | 0) + 1), *(calls[each].remove() for each in gone)]  # ADD is for top-level attributes only


def within_limit(calls: Any, rate_limit: RateLimit, now: int) -> Clause:
    """The condition under which one more call fits."""
    return _below_limit(calls, rate_limit.window_key(now), rate_limit.limit if settings.rate_limits else 1_000_000_000)


@clause
def _below_limit(calls: Any, slot: str, limit: int) -> Any:
    return calls[slot].does_not_exist() | (calls[slot] < limit)


_last_counts: dict[tuple[str, str], int] = {}
"""The count that this container saw last, by caller and slot."""


def record(counted: dict[str, int], rate_limit: RateLimit, now: int, caller: str = "") -> None:
    """Remember, for the answer's headers, what the write left in `calls`."""
    used = counted.get(rate_limit.window_key(now), 0)
    if len(_last_counts) >= 1_000:  # noqa: PLR2004  # a bound, so that a container never grows for ever
        _last_counts.clear()
    _last_counts[caller, rate_limit.window_key(now)] = used
    _set_quota(rate_limit, used, now)


def _set_quota(rate_limit: RateLimit, used: int, now: int) -> None:
    current_quota.set(Quota(rate_limit.limit, max(0, rate_limit.limit - used), (now // MINUTE + 1) * 60))


def record_estimate(caller: str, rate_limit: RateLimit, now: int) -> None:
    """The same after a transaction, which counts but gives nothing back: one more than this container saw last."""
    slot = rate_limit.window_key(now)
    record({slot: _last_counts.get((caller, slot), 0) + 1}, rate_limit, now, caller)


_rate_limited_callers: set[tuple[str, str]] = set()
"""Whom this container has refused, and in which slot. A count never goes down within its minute, so it stays true."""


def raise_if_exhausted(counted: dict[str, int], rate_limit: RateLimit, now: int, caller: str) -> None:
    """Raise RateLimited if `calls` says that this minute is used up, and remember it.

    `caller` names the very token (or the network address): another one of the same user's may have been revoked, and
    has to be told so.
    """
    if settings.rate_limits and counted.get(rate_limit.window_key(now), 0) >= rate_limit.limit:
        if len(_rate_limited_callers) >= 1_000:  # noqa: PLR2004  # a bound, so that a container never grows for ever
            _rate_limited_callers.clear()
        _rate_limited_callers.add((caller, rate_limit.window_key(now)))
        _raise_rate_limited(rate_limit, now)


def raise_if_cached(caller: str, rate_limit: RateLimit, now: int) -> None:
    """Raise RateLimited if this container has refused this caller in this minute: no request to DynamoDB."""
    if settings.rate_limits and (caller, rate_limit.window_key(now)) in _rate_limited_callers:
        _raise_rate_limited(rate_limit, now)


def _raise_rate_limited(rate_limit: RateLimit, now: int) -> NoReturn:
    _set_quota(rate_limit, rate_limit.limit, now)
    wait = (MINUTE - now % MINUTE + 999) // 1_000
    message = f"At most {rate_limit.limit} requests a minute to {rate_limit.name}; try again in {wait} s."
    raise RateLimited(message, retry_after=wait)


def stale_windows(counted: dict[str, int], now: int) -> list[str]:
    """Names of minutes that no write will remove by itself; empty until they are worth one."""
    oldest = now // MINUTE - _REMOVED_WINDOWS
    old = [slot for slot in counted if int(slot[1:]) < oldest]
    return old if len(old) >= _CLEANUP_THRESHOLD else []
