"""The platform with data of three sizes: the same number of agents and tasks, in two distributions.

In the first distribution many users have ten agents and ten tasks each. In the second, a single user has all tasks, and
as many agents as a list counts (1,000).
"""

import itertools
from collections.abc import Callable, Iterator

from chalicelib.agents.rules import INACTIVE_AFTER
from chalicelib.auth import tokens
from chalicelib.core import clock
from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT
from tests.long import load
from tests.support.client import Client

SIZES = (10, 1_000, 100_000)
FACTOR = 1.2
"""A cost is flat if it is at most this many times as high at the largest size as at the smallest."""

USERS_SHARE = 10
MANY, ONE = "many", "one"

START = 1_780_315_200_000
"""The time of the platform after loading, however long that takes: noon, the beginning of a minute."""

DUE = START + MINUTE + 15 * SECOND
"""When the rows of `overdue` are due. Nothing else is due by then."""

MakeUser = Callable[..., Client]


def populate(endpoint: str, make_user: MakeUser, size: int) -> dict[str, Client]:
    """Load all rows into empty tables. Returns the two measured users, by MANY and ONE. The clock must be at START."""
    small_user, small_owner = _user(make_user, "everyman@example.com")
    large_user, large_owner = _user(make_user, "giant@example.com")
    others = [f"user-00000000-0000-4000-8000-{number:012d}" for number in range(size // USERS_SHARE - 1)]
    load.load(endpoint, itertools.chain.from_iterable(_ten_of_each(owner) for owner in [small_owner, *others]))
    load.load(endpoint, load.agent_rows(large_owner, min(size, EXACT_TOTAL_LIMIT), START))
    load.load(endpoint, load.task_rows(large_owner, size, START))
    return {MANY: small_user, ONE: large_user}


def _user(make_user: MakeUser, email: str) -> tuple[Client, str]:
    user = make_user(email)
    return user, tokens.verify(user.token, clock.now()).owner


def _ten_of_each(owner: str) -> Iterator[load.Row]:
    yield from load.agent_rows(owner, USERS_SHARE, START)
    yield from load.task_rows(owner, USERS_SHARE, START)


def overdue(owner: str, count: int) -> Iterator[load.Row]:
    """The given number of silent agents, and of tasks that are queued for too long. A sweep handles them from DUE."""
    silent_since = START - INACTIVE_AFTER  # so that the sweep's index contains them within a minute and a half
    yield from load.agent_rows(owner, count, silent_since)
    for number in range(count):
        yield from load.task_row(owner, f"overdue-{number}", START, status="queued", intent="feature", due=DUE)
