"""The rules of users, PINs, sessions and personal tokens. No I/O; time is an argument (epoch milliseconds)."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

from chalicelib.auth.entities import PersonalToken
from chalicelib.core.errors import Conflict
from chalicelib.core.settings import MINUTE, SECOND

MAX_PIN_TRIES = 5
"""Failed PINs in a row that lock an account."""

PIN_LOCK_TIME = 15 * MINUTE

_SCRYPT = {"n": 2**15, "r": 8, "p": 3}
"""OWASP's password storage cheat sheet, second row of its scrypt parameters: 32 MiB, a quarter of a second."""


MAX_PERSONAL_TOKENS = 20
"""How many personal tokens a user may have: they stand on the user's item, which every call writes."""

MAX_ENDED_SESSIONS = 50
"""How many sessions that were logged out, and whose tokens have not expired, a user's item remembers one by one."""

IDEMPOTENCY_WINDOW = 10 * MINUTE
"""For how long the same Idempotency-Key is the same request."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key made another token within the last ten minutes; use a new key."""


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


def session_fingerprint(session: str, expires: int) -> str:
    """What logging out leaves of a session: enough to know its token again, and to know when that can be forgotten."""
    return f"{session[:16]}:{expires // SECOND}"


def expired_fingerprints(marks: Iterable[str], now: int) -> set[str]:
    """Those marks whose tokens are dead of age. A minute late, which is more than the leeway of a token."""
    return {each for each in marks if (int(each.rpartition(":")[2]) * SECOND) + MINUTE < now}


def replaced_tokens(tokens: Mapping[str, PersonalToken], request: str | None, now: int) -> list[str]:
    """Which of a user's personal tokens make room for one that is wanted: those that have expired, and the one that the
    same request made a moment ago, whose answer was lost. Raises OtherToken where its key made another one."""
    gone = [token.id for token in tokens.values() if token.expires_at <= now]
    for token in tokens.values():
        if (
            request is not None
            and token.request_fingerprint is not None
            and now - token.created_at < IDEMPOTENCY_WINDOW
        ):
            if token.request_fingerprint == request:
                gone.append(token.id)
            elif token.request_fingerprint.partition(".")[0] == request.partition(".")[0]:
                raise IdempotencyKeyReused
    return gone
