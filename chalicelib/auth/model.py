"""Users and PIN logins: their shapes and rules."""

import hashlib
import hmac
import secrets
from typing import Annotated

from pydantic import Field, StringConstraints

from chalicelib.settings import MINUTE
from chalicelib.types import Entity, Reply, Request

TRIES = 5
"""Failed PINs in a row that lock an account."""

LOCKED_FOR = 15 * MINUTE

_SCRYPT = {"n": 2**15, "r": 8, "p": 3}
"""OWASP's password storage cheat sheet, second row of its scrypt parameters: 32 MiB, a quarter of a second."""


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


class Login(Entity):
    """What a PIN is checked against; all None for an address that nobody has."""

    owner: str | None
    pin: str | None


Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254, to_lower=True, strip_whitespace=True)
]


class PinLogin(Request):
    email: Email
    pin: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


class UserReply(Reply):
    id: str
    email: str
    name: str


class LoggedIn(Reply):
    """The spec's answer of POST /api/auth/pin/login."""

    success: bool = Field(default=True)
    token: str
    user: UserReply


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
