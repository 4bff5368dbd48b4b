"""Logging in with a PIN, on development stages."""

from chalicelib import ratelimit
from chalicelib.auth import logins, model, sessions, store
from chalicelib.auth.model import User
from chalicelib.auth.shapes import LoggedIn, NewPin, PinLogin
from chalicelib.db import Failed
from chalicelib.errors import RateLimited, Unauthenticated
from chalicelib.settings import SECOND


class WrongPin(Unauthenticated):
    """Email and PIN do not belong together."""

    title = "Invalid email or PIN"


def log_in(request: PinLogin, address: str, now: int) -> LoggedIn:
    """A user's token for email and PIN. The same answer, and the same work, for an address that nobody has.

    Raises WrongPin; RateLimited when the account is locked or the network address calls too often.
    """
    logins.count_address(address, ratelimit.LOGIN, now)
    locked_until = logins.take_a_try(request.email, now)
    if locked_until is not None:
        wait = max(1, -(-(locked_until - now) // SECOND))
        raise RateLimited(f"Too many wrong PINs; try again in {wait} seconds.", retry_after=wait)
    login = logins.login(request.email)
    matches = model.pin_matches(request.pin, login.pin)
    user = store.load(login.owner) if matches and login.owner else None
    if user is None:
        raise WrongPin
    logins.forget_tries(request.email)
    return sessions.begin(user, now)


def set_pin(user: User, request: NewPin) -> None:
    """Log in with this PIN from now on. Failed tries with the old one are forgotten, so a lock ends."""
    try:
        logins.set_pin(user.email, user.owner, model.hash_pin(request.pin))
    except Failed:  # the user goes by another address by now
        raise Unauthenticated from None
    logins.forget_tries(user.email)
