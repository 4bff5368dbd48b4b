"""Users: creating them, admitting verified callers, and counting a user's agents and open tasks."""

import uuid

from chalicelib import dynamodb
from chalicelib.auth import credential_store, login_store, rules, store, tokens
from chalicelib.auth.entities import Session, User
from chalicelib.auth.keys import keyring
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.settings import HOUR
from chalicelib.http import rate_limits
from chalicelib.http.pagination import Cursors
from chalicelib.http.rate_limits import RateLimit


def admit(caller: Caller, rate_limit: RateLimit, now: int) -> User:
    """Check a user's token, count the call, and return the user.

    Two requests to DynamoDB, and once an hour a third, which records the use of the token. None for a caller that this
    container has already rate-limited in this minute. Raises Unauthenticated, RateLimited and Unavailable.
    """
    rate_limits.raise_if_cached(caller.id, rate_limit, now)
    return (_admit_session if caller.is_session else _admit_program)(caller, rate_limit, now)


def _admit_session(caller: Caller, rate_limit: RateLimit, now: int) -> User:
    expected = session_of(caller, now)
    session = credential_store.load_session(caller.owner, caller.ver, expected.id)
    if session.ended if session is not None else not expected.adopted:
        raise Unauthenticated
    check = store.session_check(caller.ver, expected.fingerprint)
    user = store.admit(caller.owner, check, rate_limit, now, caller.id)
    if session is None:
        credential_store.adopt_session(caller.owner, expected)
    else:
        credential_store.record_session_use(caller.owner, session, now)
    return user


def _admit_program(caller: Caller, rate_limit: RateLimit, now: int) -> User:
    token = credential_store.load_token(caller.owner, caller.ver)
    if token is None or token.mirrored:  # without a row, it can be a token of version 0.1.0
        return store.admit(caller.owner, store.mirrored_token_check(caller.ver, now), rate_limit, now, caller.id)
    user = store.admit(caller.owner, store.version_check(token.ver), rate_limit, now, caller.id)
    credential_store.record_token_use(caller.owner, token, now)
    return user


def session_of(caller: Caller, now: int) -> Session:
    """The session of a caller, as far as its token describes it."""
    return Session(
        id=caller.session or rules.adopted_session_id(caller.id, caller.issued_at),
        ver=caller.ver,
        fingerprint=rules.session_fingerprint(caller.id, caller.expires),
        created_at=caller.issued_at,
        expires_at=caller.expires,
        used_at=now // HOUR * HOUR,
        adopted=caller.session is None,
    )


def ensure_user(email: str, name: str, pin: str | None, now: int) -> str:
    """The id of the user with this address. Creates the user, with this name and PIN, if there is none. Safe to
    repeat."""
    owner = f"user-{uuid.uuid4()}"
    hashed = None if pin is None else rules.hash_pin(pin)
    return store.create_user(owner, email.lower(), name, tokens.new_version(), hashed, now)


def ensure_verified_user(email: str, name: str, now: int) -> User:
    """The user with a verified address. Creates the user, with this name, at the first login.

    Raises Unauthenticated where the address belongs to a user that was deleted.
    """
    owner = login_store.load_login(email).owner or ensure_user(email, name, None, now)
    user = store.load_user(owner)
    if user is None:
        raise Unauthenticated
    return user


def cursors(now: int) -> Cursors:
    """The codec of list cursors. Its keys are derived from the signing keys."""
    ring = keyring(now)
    return Cursors(ring.signing_key, *(key for kid, key in ring.keys.items() if kid != ring.current))


def clear_open_tasks(owner: str) -> None:
    """An owner's open tasks are counted by `tasks/quotas` from now on, and no longer in the user's row."""
    store.clear_open_tasks(owner)


def agent_count_item(owner: str, change: int, maximum: int) -> dynamodb.TransactItem:
    """Add `change` (1 or -1) to a user's count of agents, as part of a transaction. Adding fails at `maximum`."""
    return store.agent_count_item(owner, change, maximum)
