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

from chalicelib.errors import RateLimited
from chalicelib.settings import MINUTE, settings
from chalicelib.statements import Clause, clause

_BEHIND = 3
"""How many minutes before the present one each counted write removes."""

_CROWDED = 8
"""More leftover minutes than this are worth a write of their own."""


class Meter(NamedTuple):
    """One kind of limit: at most `limit` calls a minute, counted under `letter`."""

    letter: str
    limit: int
    name: str

    def slot(self, now: int) -> str:
        return f"{self.letter}{now // MINUTE}"


AGENTS_API = Meter("a", 100, "the agents API")
TASKS_API = Meter("t", 1_000, "the tasks API")
COMMANDS = Meter("c", 100, "polling")
HEARTBEAT = Meter("h", 10, "heartbeats")
WEBHOOKS_API = Meter("w", 100, "the webhooks API")
LOGIN = Meter("l", 10, "logging in")
LINKS = Meter("k", 10, "magic links")
SLACK = Meter("s", 10, "coming back from Slack")
ACCOUNT = Meter("m", 100, "your account")


class Quota(NamedTuple):
    """What is left: the three X-RateLimit headers. `reset` is in epoch seconds."""

    limit: int
    remaining: int
    reset: int


current: ContextVar[Quota | None] = ContextVar("quota", default=None)
"""The quota of the request being answered, set by whichever store counted it."""


def count(calls: Any, meter: Meter, now: int) -> Clause:
    """What an update does to count one call; `calls` is the PynamoDB map attribute of the caller's model."""
    minute = now // MINUTE
    return _counted(calls, meter.slot(now), *(f"{meter.letter}{minute - ago}" for ago in range(1, _BEHIND + 1)))


@clause
def _counted(calls: Any, present: str, *gone: str) -> Any:
    slot = calls[present]
    return [slot.set((slot | 0) + 1), *(calls[each].remove() for each in gone)]  # ADD is for top-level attributes only


def allowed(calls: Any, meter: Meter, now: int) -> Clause:
    """The condition under which one more call fits."""
    return _below(calls, meter.slot(now), meter.limit if settings.rate_limits else 1_000_000_000)


@clause
def _below(calls: Any, slot: str, limit: int) -> Any:
    return calls[slot].does_not_exist() | (calls[slot] < limit)


_seen: dict[tuple[str, str], int] = {}
"""The count that this container saw last, by caller and slot."""


def note(counted: dict[str, int], meter: Meter, now: int, caller: str = "") -> None:
    """Remember, for the answer's headers, what the write left in `calls`."""
    used = counted.get(meter.slot(now), 0)
    if len(_seen) >= 1_000:  # noqa: PLR2004  # a bound, so that a container never grows for ever
        _seen.clear()
    _seen[caller, meter.slot(now)] = used
    _tell(meter, used, now)


def _tell(meter: Meter, used: int, now: int) -> None:
    current.set(Quota(meter.limit, max(0, meter.limit - used), (now // MINUTE + 1) * 60))


def note_unseen(caller: str, meter: Meter, now: int) -> None:
    """The same after a transaction, which counts but gives nothing back: one more than this container saw last."""
    slot = meter.slot(now)
    note({slot: _seen.get((caller, slot), 0) + 1}, meter, now, caller)


_refused: set[tuple[str, str]] = set()
"""Whom this container has refused, and in which slot. A count never goes down within its minute, so it stays true."""


def refuse_if_exhausted(counted: dict[str, int], meter: Meter, now: int, caller: str) -> None:
    """Raise RateLimited if `calls` says that this minute is used up, and remember it.

    `caller` names the very token (or the network address): another one of the same user's may have been revoked, and
    has to be told so.
    """
    if settings.rate_limits and counted.get(meter.slot(now), 0) >= meter.limit:
        if len(_refused) >= 1_000:  # noqa: PLR2004  # a bound, so that a container never grows for ever
            _refused.clear()
        _refused.add((caller, meter.slot(now)))
        _refuse(meter, now)


def refuse_if_known(caller: str, meter: Meter, now: int) -> None:
    """Raise RateLimited if this container has refused this caller in this minute: no request to DynamoDB."""
    if settings.rate_limits and (caller, meter.slot(now)) in _refused:
        _refuse(meter, now)


def _refuse(meter: Meter, now: int) -> NoReturn:
    _tell(meter, meter.limit, now)
    wait = (MINUTE - now % MINUTE + 999) // 1_000
    message = f"At most {meter.limit} requests a minute to {meter.name}; try again in {wait} s."
    raise RateLimited(message, retry_after=wait)


def leftovers(counted: dict[str, int], now: int) -> list[str]:
    """Names of minutes that no write will remove by itself; empty until they are worth one."""
    oldest = now // MINUTE - _BEHIND
    old = [slot for slot in counted if int(slot[1:]) < oldest]
    return old if len(old) >= _CROWDED else []
