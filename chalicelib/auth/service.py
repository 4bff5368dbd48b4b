"""Users: making them, letting a verified caller in, and counting what is theirs."""

import uuid

from chalicelib import dynamodb
from chalicelib.auth import login_store, rules, store, tokens
from chalicelib.auth.entities import User
from chalicelib.auth.keys import keyring
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import Unauthenticated
from chalicelib.http import rate_limits
from chalicelib.http.pagination import Cursors
from chalicelib.http.rate_limits import RateLimit


def admit(caller: Caller, rate_limit: RateLimit, now: int) -> User:
    """The user behind a user's token, with this call counted. One request; none for one who is known to be refused."""
    rate_limits.raise_if_cached(caller.id, rate_limit, now)
    if caller.is_session:
        existing = store.session_check(caller.ver, rules.session_fingerprint(caller.id, caller.expires))
    else:
        existing = store.personal_token_check(caller.ver, now)
    return store.admit(caller.owner, existing, rate_limit, now, caller.id)


def ensure_user(email: str, name: str, pin: str | None, now: int) -> str:
    """The id of the user with this address, made (with this name and PIN) if there is none. Safe to repeat."""
    owner = f"user-{uuid.uuid4()}"
    hashed = None if pin is None else rules.hash_pin(pin)
    return store.create_user(owner, email.lower(), name, tokens.new_version(), hashed, now)


def ensure_verified_user(email: str, name: str, now: int) -> User:
    """The user at an address that was verified, made (with this name) at the first login. Raises Unauthenticated for
    one who is gone."""
    owner = login_store.load_login(email).owner or ensure_user(email, name, None, now)
    user = store.load_user(owner)
    if user is None:
        raise Unauthenticated
    return user


def cursors(now: int) -> Cursors:
    """What seals the cursors of lists: keys derived from the signing keys."""
    ring = keyring(now)
    return Cursors(ring.signing_key, *(key for kid, key in ring.keys.items() if kid != ring.current))


def open_task_count_item(owner: str, change: int) -> dynamodb.TransactItem:
    """Part of a transaction: so many of a user's tasks more (or less) wait or run. Fails where the user is gone."""
    return store.open_task_count_item(owner, change)


def open_task_limit_check(owner: str, maximum: int) -> dynamodb.TransactItem:
    """Part of a transaction: fails where a user has `most` open tasks or more."""
    return store.open_task_limit_check(owner, maximum)


def agent_count_item(owner: str, change: int, maximum: int) -> dynamodb.TransactItem:
    """Part of a transaction: a user has one agent more (fails at `most`) or one less."""
    return store.agent_count_item(owner, change, maximum)
