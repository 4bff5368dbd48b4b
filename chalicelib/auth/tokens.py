"""Tokens: JWTs (RFC 7519), HS256, good for 30 days; those of a login for less, where the stage says so.

Claims: `iss aud sub iat exp jti typ ver` and `own`. `sub` is the user or agent, `own` the owner, `typ` one of `user` (a
session), `personal` (a program of the user's) and `agent`, and `ver` the version that must be on the user's or agent's
item, so that revoking takes effect at once. Time is an argument, so expiry is checked here and not by PyJWT.
"""

import secrets
from typing import Any, Literal, NamedTuple, get_args

import jwt

from chalicelib.auth.keys import keyring
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.settings import DAY, HOUR, SECOND, settings

ISSUER = "devflow"
LIFETIME = 30 * DAY
LEEWAY = 30 * SECOND
ALGORITHM = "HS256"
_MAX_LENGTH = 4_096

TokenKind = Literal["user", "personal", "agent"]
_jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})


class Caller(NamedTuple):
    """Who a verified token speaks for. Its `ver` has yet to be compared with the stored one, which the first write
    of every call does."""

    kind: TokenKind
    owner: str
    subject: str
    ver: str
    id: str
    """The token's own id, its `jti`."""
    expires: int

    @property
    def is_agent(self) -> bool:
        return self.kind == "agent"

    @property
    def is_session(self) -> bool:
        """Whether a person logged in for this token, and no program of theirs was given it."""
        return self.kind == "user"


def new_version() -> str:
    """A version that was never used before, so that a token of an earlier life of the same id stays dead."""
    return secrets.token_hex(8)


def issue(kind: TokenKind, owner: str, subject: str, ver: str, now: int, *, expires: int | None = None) -> str:
    """A signed token for a user (`subject` is the owner) or for one of the owner's agents."""
    ring = keyring(now)
    good_for = session_lifetime() if kind == "user" else LIFETIME
    claims = {
        "iss": ISSUER,
        "aud": audience(),
        "sub": subject,
        "own": owner,
        "typ": kind,
        "ver": ver,
        "jti": secrets.token_hex(16),
        "iat": now // 1_000,
        "exp": (expires or now + good_for) // 1_000,
    }
    return _jwt.encode(claims, ring.signing_key, algorithm=ALGORITHM, headers={"kid": ring.current})


def session_lifetime() -> int:
    """How long a login lasts, in milliseconds; never longer than LIFETIME."""
    return settings.session_hours * HOUR


def audience() -> str:
    """A token of one stage is nothing on another."""
    return f"devflow-{settings.stage}"


class _VerifiedToken(NamedTuple):
    """A token whose signature was checked, with which key of the ring, and who it speaks for."""

    kid: str
    key: bytes
    caller: Caller


_verified: dict[str, _VerifiedToken] = {}
"""Tokens checked by this container: reading and verifying one costs 60 us, finding it here a hundredth of that."""


def verify(token: str | None, now: int) -> Caller:
    """Who `token` speaks for. Raises Unauthenticated.

    One that this container has seen before is only looked up; that its key is still among the signing keys, and its
    time not over, is checked each time.
    """
    if token is None or len(token) > _MAX_LENGTH:
        raise Unauthenticated
    known = _verified.get(token)
    kid = _key_id(token) if known is None else known.kid
    key = keyring(now, key_id=kid).keys.get(kid)
    if key is None:
        raise Unauthenticated
    if known is None or known.key != key:
        known = _remember(token, _VerifiedToken(kid, key, _decode(token, key)))
    if now >= known.caller.expires + LEEWAY:
        raise Unauthenticated("This token has expired.")
    return known.caller


def _key_id(token: str) -> str:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        raise Unauthenticated from None
    if not isinstance(kid, str):
        raise Unauthenticated
    return kid


def _remember(token: str, verified: _VerifiedToken) -> _VerifiedToken:
    if len(_verified) >= 1_000:  # noqa: PLR2004  # a bound, so that a container never grows for ever
        _verified.clear()
    _verified[token] = verified
    return verified


def _decode(token: str, key: bytes) -> Caller:
    try:
        claims: dict[str, Any] = _jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=audience(),
            options={"require": ["exp", "iat", "sub", "jti"], "verify_exp": False, "verify_iat": False},
        )
        expires = int(claims["exp"]) * 1_000
        caller = Caller(claims["typ"], claims["own"], claims["sub"], claims["ver"], claims["jti"], expires)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        raise Unauthenticated from None
    if caller.kind not in get_args(TokenKind):
        raise Unauthenticated
    return caller
