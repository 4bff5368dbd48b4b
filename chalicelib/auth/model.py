"""Users, their PINs and their personal tokens: what they are, and their rules."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

from chalicelib.errors import Conflict
from chalicelib.settings import MINUTE, SECOND
from chalicelib.types import Entity

TRIES = 5
"""Failed PINs in a row that lock an account."""

LOCKED_FOR = 15 * MINUTE

_SCRYPT = {"n": 2**15, "r": 8, "p": 3}
"""OWASP's password storage cheat sheet, second row of its scrypt parameters: 32 MiB, a quarter of a second."""


MOST_TOKENS = 20
"""How many personal tokens a user may have: they stand on the user's item, which every call writes."""

MOST_ENDED = 50
"""How many sessions that were logged out, and whose tokens have not expired, a user's item remembers one by one."""

SAME_REQUEST = 10 * MINUTE
"""For how long the same Idempotency-Key is the same request."""


class OtherToken(Conflict):
    """This Idempotency-Key made another token within the last ten minutes; use a new key."""


class PersonalToken(Entity):
    """A token that a user made for a program, and named. Its id is the `ver` that it carries."""

    id: str
    name: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    """The hour of its last use."""
    request: str | None = None
    """The fingerprints of the Idempotency-Key and of the request that made it; None where there was no key."""


class User(Entity):
    """Who owns agents, tasks and webhooks: the tenant. `owner` is its id, and part of every key."""

    owner: str
    email: str
    name: str
    ver: str
    agents: int = 0
    """How many agents are registered."""
    open_tasks: int = 0
    """How many tasks wait or run, as far as counted."""
    tokens: Mapping[str, PersonalToken] = {}
    ended: frozenset[str] = frozenset()
    """Marks of the sessions that were logged out."""


class Login(Entity):
    """What a PIN is checked against; all None for an address that nobody has."""

    owner: str | None
    pin: str | None


def hash_pin(pin: str) -> str:
    """A PIN as it is stored: `n$r$p$salt$hash`, so that stronger parameters lock nobody out."""
    salt = secrets.token_bytes(16)
    n, r, p = _SCRYPT["n"], _SCRYPT["r"], _SCRYPT["p"]
    return f"{n}${r}${p}${salt.hex()}${_scrypt(pin, salt, n, r, p)}"


def pin_matches(pin: str, stored: str | None) -> bool:
    """Whether a PIN is the stored one. Without a stored one the same work is done, and the answer is no."""
    known = stored or f"{_SCRYPT['n']}${_SCRYPT['r']}${_SCRYPT['p']}${bytes(16).hex()}$"
    n, r, p, salt, digest = known.split("$")
    given = _scrypt(pin, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(given, digest) and stored is not None


def _scrypt(pin: str, salt: bytes, n: int, r: int, p: int) -> str:
    return hashlib.scrypt(pin.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 * 1024 * 1024, dklen=32).hex()


def mark(session: str, expires: int) -> str:
    """What logging out leaves of a session: enough to know its token again, and to know when that can be forgotten."""
    return f"{session[:16]}:{expires // SECOND}"


def expired(marks: Iterable[str], now: int) -> set[str]:
    """Those marks whose tokens are dead of age. A minute late, which is more than the leeway of a token."""
    return {each for each in marks if (int(each.rpartition(":")[2]) * SECOND) + MINUTE < now}


def superseded(tokens: Mapping[str, PersonalToken], request: str | None, now: int) -> list[str]:
    """Which of a user's personal tokens make room for one that is wanted: those that have expired, and the one that the
    same request made a moment ago, whose answer was lost. Raises OtherToken where its key made another one."""
    gone = [token.id for token in tokens.values() if token.expires_at <= now]
    for token in tokens.values():
        if request is not None and token.request is not None and now - token.created_at < SAME_REQUEST:
            if token.request == request:
                gone.append(token.id)
            elif token.request.partition(".")[0] == request.partition(".")[0]:
                raise OtherToken
    return gone
