"""Users: creating them, admitting verified callers, and counting a user's agents and open tasks."""

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
    """Check a user's token, count the call, and return the user.

    One request to DynamoDB; none for a caller that this container has already rate-limited in this minute. Raises
    Unauthenticated, RateLimited and Unavailable.
    """
    rate_limits.raise_if_cached(caller.id, rate_limit, now)
    if caller.is_session:
        check = store.session_check(caller.ver, rules.session_fingerprint(caller.id, caller.expires))
    else:
        check = store.personal_token_check(caller.ver, now)
    return store.admit(caller.owner, check, rate_limit, now, caller.id)


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
