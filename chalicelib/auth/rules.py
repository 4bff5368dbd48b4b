"""The rules of users, PINs, sessions and personal tokens. No I/O; time is an argument (epoch milliseconds)."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, TypeVar

from chalicelib.auth.entities import Login, PersonalToken, RegistrationToken, SlackPerson
from chalicelib.core.errors import Conflict
from chalicelib.core.settings import DAY, MINUTE, SECOND

MAX_PIN_TRIES = 5
"""The number of consecutive wrong PINs that locks an account."""

PIN_LOCK_TIME = 15 * MINUTE
"""How long the first lock lasts. Each further lock lasts twice as long as the one before, up to MAX_PIN_LOCK_TIME."""
MAX_PIN_LOCK_TIME = DAY
PIN_TRIES_KEPT = 7 * DAY
"""How long after the last wrong PIN the consecutive wrong ones are forgotten."""

MAX_MAILS, MAIL_WINDOW = 5, 15 * MINUTE
"""How many mails an address receives, until none was requested for so long."""

_SCRYPT = {"n": 2**15, "r": 8, "p": 3}
"""The second row of the scrypt parameters in OWASP's password storage cheat sheet: 32 MiB, a quarter of a second."""


MAX_PERSONAL_TOKENS = 1_000
"""The limit of personal tokens for a user. Concurrent requests may exceed it by a few."""

MAX_REGISTRATION_TOKENS = 100
"""The limit of registration tokens for a user. Concurrent requests may exceed it by a few."""

MAX_MIRRORED_TOKENS = 20
"""The limit of personal tokens on a user's item, which every call writes. Version 0.1.0 accepts no more."""

MAX_ENDED_SESSIONS = 50
"""The limit of fingerprints of ended sessions on a user's item. Version 0.1.0 accepts no more."""

IDEMPOTENCY_WINDOW = 10 * MINUTE
"""How long a repeated Idempotency-Key identifies the same request."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for another token within the last ten minutes. Use a new key."""


def is_common_pin(pin: str) -> bool:
    """Whether a PIN of six digits is among the first that an attacker tries.

    These are repetitions, mirrored numbers, sequences (also of every second digit, and in each half, as on a keypad),
    and dates. They are about a tenth of all PINs, and most of those that people choose.
    """
    halves, alternate = (pin[:3], pin[3:]), (pin[::2], pin[1::2])
    return (
        len(set(pin)) <= 2  # noqa: PLR2004  # such as 121212 and 000007
        or halves[0] == halves[1]
        or pin == pin[::-1]
        or any(all(map(_is_sequence, parts)) for parts in (halves, alternate))
        or any(_is_date(*parts) for parts in _date_orders(pin[:2], pin[2:4], pin[4:]))
        or pin in _COMMON_PINS
    )


_COMMON_PINS = frozenset({"135790", "246810"})
"""Common PINs that fit no rule of `is_common_pin`."""


def _is_sequence(digits: str) -> bool:
    """Whether all steps between the digits are equal, such as in 357. After 9 comes 0."""
    return len({(int(after) - int(before)) % 10 for before, after in pairwise(digits)}) == 1


def _date_orders(one: str, two: str, three: str) -> list[tuple[str, str]]:
    """The month and the day, if the PIN is day-month-year, month-day-year or year-month-day."""
    return [(two, one), (one, two), (two, three)]


def _is_date(month: str, day: str) -> bool:
    return "01" <= month <= "12" and "01" <= day <= "31"


class PinTries(NamedTuple):
    """The consecutive wrong PINs of an account, and until when it is locked if these have locked it."""

    tries: int
    locked_until: int


def pin_lock_time(tries: int) -> int:
    """How long the account is locked after this number of consecutive wrong PINs (milliseconds); 0 if it is not."""
    if tries % MAX_PIN_TRIES:
        return 0
    doublings = min(tries // MAX_PIN_TRIES - 1, 10)
    return min(PIN_LOCK_TIME << doublings, MAX_PIN_LOCK_TIME)


def reserve_pin_try(before: PinTries, now: int) -> PinTries | None:
    """The state after one more try, which counts as wrong until it succeeds. None while the account is locked.

    `locked_until` is also set where `tries` locks nothing. Such a time has no meaning, except for an earlier version.
    """
    if before.tries and not before.tries % MAX_PIN_TRIES and now < before.locked_until:
        return None
    tries = before.tries + 1
    return PinTries(tries, now + (pin_lock_time(tries) or PIN_LOCK_TIME))


def hash_pin(pin: str) -> str:
    """Hash a PIN as `n$r$p$salt$hash`. The parameters are stored, so PINs stay valid when the parameters change."""
    salt = secrets.token_bytes(16)
    n, r, p = _SCRYPT["n"], _SCRYPT["r"], _SCRYPT["p"]
    return f"{n}${r}${p}${salt.hex()}${_scrypt(pin, salt, n, r, p)}"


def pin_matches(pin: str, stored: str | None) -> bool:
    """Whether a PIN matches a stored hash. Returns False for None, after the same work."""
    reference = stored or f"{_SCRYPT['n']}${_SCRYPT['r']}${_SCRYPT['p']}${bytes(16).hex()}$"
    n, r, p, salt, digest = reference.split("$")
    computed = _scrypt(pin, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(computed, digest) and stored is not None


def _scrypt(pin: str, salt: bytes, n: int, r: int, p: int) -> str:
    return hashlib.scrypt(pin.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 * 1024 * 1024, dklen=32).hex()


def new_session_id(now: int) -> str:
    """A new id of a session. Ids are in the order of their times. The hyphen distinguishes them from the token ids of
    version 0.1.0."""
    return f"{now:011x}-{secrets.token_hex(10)}"


def new_registration_token_id(now: int) -> str:
    """A new id of a registration token. Ids are in the order of their times."""
    return f"{now:011x}-{secrets.token_hex(10)}"


def adopted_session_id(token_id: str, issued: int) -> str:
    """The id of a session of version 0.1.0. `token_id` is the `jti` of its token, `issued` is in epoch milliseconds."""
    return f"{issued:011x}-{token_id[:20]}"


def session_fingerprint(token_id: str, expires: int) -> str:
    """What a user's item stores of a session that has ended: the beginning of its token's `jti`, and when the token
    expires (epoch seconds). It identifies the token, and shows when it can be deleted."""
    return f"{token_id[:16]}:{expires // SECOND}"


def surplus_fingerprints(fingerprints: Iterable[str], now: int) -> set[str]:
    """The fingerprints to delete, so that a user's item can store one more.

    These are the fingerprints whose tokens expired more than a minute ago, which is more than the leeway of a token. If
    that is not enough, also those that expire first. A session of version 0.1.0 may have no row, so its fingerprint is
    never deleted before it expires.
    """
    found = set(fingerprints)
    expired = {each for each in found if _fingerprint_expiry(each) + MINUTE < now}
    replaceable = sorted((each for each in found - expired if "-" in each), key=_fingerprint_expiry)
    excess = max(0, len(found) - len(expired) - MAX_ENDED_SESSIONS + 1)
    return expired | set(replaceable[:excess])


def _fingerprint_expiry(fingerprint: str) -> int:
    """When the token of a fingerprint expires (epoch milliseconds)."""
    return int(fingerprint.rpartition(":")[2]) * SECOND


def may_link_slack(person: SlackPerson, login: Login, configured_team: str | None) -> bool:
    """Whether a Slack person without a link may be linked to the user who has the person's address.

    Only people of the workspace that the operator has named: the administrators of any other workspace could give a
    person the address of somebody else. And only if the user is linked to nobody else yet: then the address was given
    to another person later.
    """
    if login.slack_user is not None:
        return login.slack_user == person.key  # a parallel sign-in of this person has linked the user
    return person.team == configured_team


T = TypeVar("T", PersonalToken, RegistrationToken)


def lost_token(tokens: Iterable[T], request: str | None, now: int) -> T | None:
    """The token that the same request created within the last ten minutes, whose response is taken to be lost.

    `request` is the fingerprint of the new token's request, None without an Idempotency-Key. Raises
    IdempotencyKeyReused where another request with the same key created a token.
    """
    lost = None
    for token in tokens:
        if (
            request is not None
            and token.request_fingerprint is not None
            and now - token.created_at < IDEMPOTENCY_WINDOW
        ):
            if token.request_fingerprint == request:
                lost = token
            elif token.request_fingerprint.partition(".")[0] == request.partition(".")[0]:
                raise IdempotencyKeyReused
    return lost
