"""Logging in, and letting a verified caller in."""

import uuid

from chalicelib import db, ratelimit
from chalicelib.auth import model, store, tokens
from chalicelib.auth.keys import keyring
from chalicelib.auth.model import LoggedIn, PinLogin, User, UserReply
from chalicelib.auth.tokens import Caller
from chalicelib.errors import RateLimited, Unauthenticated
from chalicelib.pages import Cursors
from chalicelib.ratelimit import Meter
from chalicelib.settings import SECOND


class WrongPin(Unauthenticated):
    """Email and PIN do not belong together."""

    title = "Invalid email or PIN"


def admit(caller: Caller, meter: Meter, now: int) -> User:
    """The user behind a user's token, with this call counted. One request."""
    return store.admit(caller.owner, caller.ver, meter, now)


def pin_login(request: PinLogin, address: str, now: int) -> LoggedIn:
    """A user's token for email and PIN. The same answer, and the same work, for an address that nobody has.

    Raises WrongPin; RateLimited when the account is locked or the network address calls too often.
    """
    store.count_address(address, ratelimit.LOGIN, now)
    locked_until = store.take_a_try(request.email, now)
    if locked_until is not None:
        wait = max(1, -(-(locked_until - now) // SECOND))
        raise RateLimited(f"Too many wrong PINs; try again in {wait} seconds.", retry_after=wait)
    login = store.login(request.email)
    matches = model.pin_matches(request.pin, login.pin)
    user = store.load(login.owner) if matches and login.owner else None
    if user is None:
        raise WrongPin
    store.forget_tries(request.email)
    return LoggedIn(
        token=tokens.issue("user", user.owner, user.owner, user.ver, now),
        user=UserReply(id=user.owner, email=user.email, name=user.name),
    )


def ensure_user(email: str, name: str, pin: str, now: int) -> str:
    """The id of the user with this address, made (with this name and PIN) if there is none. Safe to repeat."""
    owner = f"user-{uuid.uuid4()}"
    return store.create(owner, email.lower(), name, tokens.new_version(), model.hash_pin(pin), now)


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
