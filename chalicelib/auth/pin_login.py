"""Logging in with a PIN, on development stages."""

from chalicelib.auth import login_store, rules, sessions, store
from chalicelib.auth.entities import User
from chalicelib.auth.schemas import LoginResponse, PinLoginRequest, SetPinRequest
from chalicelib.core.errors import RateLimited, Unauthenticated
from chalicelib.core.settings import SECOND
from chalicelib.dynamodb.operations import ConditionFailed
from chalicelib.http import rate_limits


class WrongPin(Unauthenticated):
    """Email and PIN do not belong together."""

    title = "Invalid email or PIN"


def log_in_with_pin(request: PinLoginRequest, address: str, now: int) -> LoginResponse:
    """A user's token for email and PIN. The same answer, and the same work, for an address that nobody has.

    Raises WrongPin; RateLimited when the account is locked or the network address calls too often.
    """
    login_store.count_source_ip(address, rate_limits.LOGIN, now)
    locked_until = login_store.reserve_pin_try(request.email, now)
    if locked_until is not None:
        wait = max(1, -(-(locked_until - now) // SECOND))
        raise RateLimited(f"Too many wrong PINs; try again in {wait} seconds.", retry_after=wait)
    login = login_store.load_login(request.email)
    matches = rules.pin_matches(request.pin, login.pin)
    user = store.load_user(login.owner) if matches and login.owner else None
    if user is None:
        raise WrongPin
    login_store.reset_pin_tries(request.email)
    return sessions.start_session(user, now)


def set_pin(user: User, request: SetPinRequest) -> None:
    """Log in with this PIN from now on. Failed tries with the old one are forgotten, so a lock ends."""
    try:
        login_store.set_pin(user.email, user.owner, rules.hash_pin(request.pin))
    except ConditionFailed:  # the user goes by another address by now
        raise Unauthenticated from None
    login_store.reset_pin_tries(user.email)
