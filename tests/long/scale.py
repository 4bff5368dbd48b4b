"""The platform at three sizes: so many agents and as many tasks, twice over. Once they are spread over many users, ten
of each; once a single user has all the tasks, and as many agents as one may have.
"""

import itertools
from collections.abc import Callable, Iterator

from chalicelib.agents.rules import INACTIVE_AFTER
from chalicelib.auth import tokens
from chalicelib.core import clock
from chalicelib.core.settings import MINUTE, SECOND, settings
from tests.long import load
from tests.support.client import Client

SIZES = (10, 1_000, 100_000)
FACTOR = 1.2
"""What costs at most so many times as much at the largest size as at the smallest is flat."""

USERS_SHARE = 10
MANY, ONE = "many", "one"

START = 1_780_315_200_000
"""The instant at which all is there, whatever time the loading takes: noon, the beginning of a minute."""

DUE = START + MINUTE + 15 * SECOND
"""When what `stale` gives is due, and nothing else yet."""

MakeUser = Callable[..., Client]


def populate(endpoint: str, make_user: MakeUser, size: int) -> dict[str, Client]:
    """Load everything into empty tables; the two users to be measured, by MANY and ONE. The clock must be at START."""
    everyman, owner = _user(make_user, "everyman@example.com")
    giant, giants = _user(make_user, "giant@example.com")
    crowd = [f"user-00000000-0000-4000-8000-{number:012d}" for number in range(size // USERS_SHARE - 1)]
    load.load(endpoint, itertools.chain.from_iterable(_ten_of_each(each) for each in [owner, *crowd]))
    load.load(endpoint, load.agent_rows(giants, min(size, settings.agents_per_user), START))
    load.load(endpoint, load.task_rows(giants, size, START))
    return {MANY: everyman, ONE: giant}


def _user(make_user: MakeUser, email: str) -> tuple[Client, str]:
    user = make_user(email)
    return user, tokens.verify(user.token, clock.now()).owner


def _ten_of_each(owner: str) -> Iterator[load.Row]:
    yield from load.agent_rows(owner, USERS_SHARE, START)
    yield from load.task_rows(owner, USERS_SHARE, START)


def stale(owner: str, many: int) -> Iterator[load.Row]:
    """So many agents that fell silent, and as many tasks that wait for too long: the next sweep's, from DUE on."""
    silent_since = START - INACTIVE_AFTER  # long enough for the index to show it in a minute and a half
    yield from load.agent_rows(owner, many, silent_since)
    for number in range(many):
        yield from load.task_row(owner, f"overdue-{number}", START, status="queued", intent="feature", due=DUE)
