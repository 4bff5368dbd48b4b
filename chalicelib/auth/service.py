"""Users: making them, letting a verified caller in, and counting what is theirs."""

import uuid

from chalicelib import db, ratelimit
from chalicelib.auth import logins, model, store, tokens
from chalicelib.auth.keys import keyring
from chalicelib.auth.model import User
from chalicelib.auth.tokens import Caller
from chalicelib.errors import Unauthenticated
from chalicelib.pages import Cursors
from chalicelib.ratelimit import Meter


def admit(caller: Caller, meter: Meter, now: int) -> User:
    """The user behind a user's token, with this call counted. One request; none for one who is known to be refused."""
    ratelimit.refuse_if_known(caller.id, meter, now)
    if caller.is_session:
        standing = store.session(caller.ver, model.mark(caller.id, caller.expires))
    else:
        standing = store.personal(caller.ver, now)
    return store.admit(caller.owner, standing, meter, now, caller.id)


def ensure_user(email: str, name: str, pin: str | None, now: int) -> str:
    """The id of the user with this address, made (with this name and PIN) if there is none. Safe to repeat."""
    owner = f"user-{uuid.uuid4()}"
    hashed = None if pin is None else model.hash_pin(pin)
    return store.create(owner, email.lower(), name, tokens.new_version(), hashed, now)


def user_at(email: str, name: str, now: int) -> User:
    """The user at an address that was verified, made (with this name) at the first login. Raises Unauthenticated for
    one who is gone."""
    owner = logins.login(email).owner or ensure_user(email, name, None, now)
    user = store.load(owner)
    if user is None:
        raise Unauthenticated
    return user


def cursors(now: int) -> Cursors:
    """What seals the cursors of lists: keys derived from the signing keys."""
    ring = keyring(now)
    return Cursors(ring.signing_key, *(key for kid, key in ring.keys.items() if kid != ring.current))


def count_open_tasks(owner: str, by: int) -> db.Part:
    """Part of a transaction: so many of a user's tasks more (or less) wait or run. Fails where the user is gone."""
    return store.count_open_tasks(owner, by)


def fewer_open_tasks(owner: str, most: int) -> db.Part:
    """Part of a transaction: fails where a user has `most` open tasks or more."""
    return store.fewer_open_tasks(owner, most)


def count_agents(owner: str, by: int, most: int) -> db.Part:
    """Part of a transaction: a user has one agent more (fails at `most`) or one less."""
    return store.count_agents(owner, by, most)
