"""Tokens: JWTs (RFC 7519) signed with HS256 and valid for 30 days. A stage may set a shorter lifetime for sessions.

The claims are `iss aud sub iat exp jti typ ver` and `own`. `sub` is the id of the user or agent, and `own` is the
owner. `typ` is `user` (a session), `personal` (a personal token), `agent`, or `registration` (a registration token).
`ver` must match what is stored on the item of the user or agent, so that revoking a token takes effect immediately. A
session's token also has `sid`, the id of the session; those of version 0.1.0 do not. Time is an argument (epoch
milliseconds), so this module checks expiry, and not PyJWT.
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

TokenKind = Literal["user", "personal", "agent", "registration"]
_jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})


class Caller(NamedTuple):
    """The user or agent that a verified token identifies. A registration token identifies the user of its agents.

    The first write of every call compares `ver` with the stored version. Until then, the token may be revoked.
    """

    kind: TokenKind
    owner: str
    subject: str
    ver: str
    id: str
    """The id of the token, its `jti`."""
    expires: int
    """When the token expires (epoch milliseconds)."""
    issued_at: int
    """When the token was issued (epoch milliseconds, to the second)."""
    session: str | None
    """The id of the session, the claim `sid`. None for other tokens, and for a session of version 0.1.0."""

    @property
    def is_agent(self) -> bool:
        return self.kind == "agent"

    @property
    def is_registration(self) -> bool:
        """Whether the token can register agents, and do nothing else."""
        return self.kind == "registration"

    @property
    def is_session(self) -> bool:
        """Whether the token is that of a login, and not a personal token."""
        return self.kind == "user"


def new_version() -> str:
    """A new random version. Tokens that were issued with an earlier version of the same user or agent stay revoked."""
    return secrets.token_hex(8)


def issue(
    kind: TokenKind,
    owner: str,
    subject: str,
    ver: str,
    now: int,
    *,
    expires: int | None = None,
    session: str | None = None,
) -> str:
    """Sign a token for a user (`subject` is the owner) or for one of the owner's agents.

    `expires` (epoch milliseconds) defaults to the lifetime of this kind of token. `session` is the id of a user's
    session. Raises Unavailable without signing keys.
    """
    ring = keyring(now)
    lifetime = session_lifetime() if kind == "user" else LIFETIME
    claims = {
        "iss": ISSUER,
        "aud": audience(),
        "sub": subject,
        "own": owner,
        "typ": kind,
        "ver": ver,
        "jti": session or secrets.token_hex(16),
        "iat": now // 1_000,
        "exp": (expires or now + lifetime) // 1_000,
    }
    if session is not None:
        claims["sid"] = session
    return _jwt.encode(claims, ring.signing_key, algorithm=ALGORITHM, headers={"kid": ring.current})


def session_lifetime() -> int:
    """The lifetime of a session, in milliseconds. It is at most LIFETIME."""
    return settings.session_hours * HOUR


def audience() -> str:
    """The audience of this stage's tokens. Other stages reject them."""
    return f"devflow-{settings.stage}"


class _VerifiedToken(NamedTuple):
    """A token whose signature was verified: the key id and the key that verified it, and the caller."""

    kid: str
    key: bytes
    caller: Caller


_verified: dict[str, _VerifiedToken] = {}
"""The tokens that this container has verified. Verifying a token takes 60 us; a lookup here takes a hundredth of
that."""


def verify(token: str | None, now: int) -> Caller:
    """The caller that `token` identifies. Raises Unauthenticated.

    The signature of a token that this container has verified before is not verified again. Its expiry, and that its key
    is still a signing key, are checked each time.
    """
    if token is None or len(token) > _MAX_LENGTH:
        raise Unauthenticated
    verified = _verified.get(token)
    kid = _key_id(token) if verified is None else verified.kid
    key = keyring(now, key_id=kid).keys.get(kid)
    if key is None:
        raise Unauthenticated
    if verified is None or verified.key != key:
        verified = _remember(token, _VerifiedToken(kid, key, _decode(token, key)))
    if now >= verified.caller.expires + LEEWAY:
        raise Unauthenticated("This token has expired.")
    return verified.caller


def _key_id(token: str) -> str:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        raise Unauthenticated from None
    if not isinstance(kid, str):
        raise Unauthenticated
    return kid


def _remember(token: str, verified: _VerifiedToken) -> _VerifiedToken:
    if len(_verified) >= 1_000:  # noqa: PLR2004  # a limit, so that a container's memory does not grow without end
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
        caller = Caller(
            claims["typ"],
            claims["own"],
            claims["sub"],
            claims["ver"],
            claims["jti"],
            expires=int(claims["exp"]) * 1_000,
            issued_at=int(claims["iat"]) * 1_000,
            session=claims.get("sid"),
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        raise Unauthenticated from None
    if caller.kind not in get_args(TokenKind):
        raise Unauthenticated
    return caller
