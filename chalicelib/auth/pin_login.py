"""Login with an email address and a PIN, on stages that allow it (never on prod)."""

from chalicelib.auth import login_store, rules, sessions, store
from chalicelib.auth.entities import LoginOrigin, User
from chalicelib.auth.schemas import LoginResponse, PinLoginRequest, SetPinRequest
from chalicelib.core.errors import Invalid, RateLimited, Unauthenticated
from chalicelib.core.settings import SECOND
from chalicelib.dynamodb.operations import ConditionFailed
from chalicelib.http import rate_limits


class WrongPin(Unauthenticated):
    """The email address or the PIN is wrong."""

    title = "Invalid email or PIN"


class CommonPin(Invalid):
    """This PIN is easy to guess. Choose one that is no sequence, repetition, mirrored number, pattern or date."""


def log_in_with_pin(request: PinLoginRequest, origin: LoginOrigin, now: int) -> LoginResponse:
    """Start a session for an email address and PIN. An address without a user gets the same response after the same
    work.

    Raises WrongPin. Raises RateLimited where the account is locked or the network address calls too often.
    """
    login_store.count_source_ip(origin.address, rate_limits.LOGIN, now)
    locked_until = login_store.reserve_pin_try(request.email, now)
    if locked_until is not None:
        wait = max(1, -(-(locked_until - now) // SECOND))
        raise RateLimited(f"Too many wrong PINs. Try again in {wait} seconds.", retry_after=wait)
    login = login_store.load_login(request.email)
    matches = rules.pin_matches(request.pin, login.pin)
    user = store.load_user(login.owner) if matches and login.owner else None
    if user is None:
        raise WrongPin
    login_store.reset_pin_tries(request.email)
    return sessions.start_session(user, origin, now)


def set_pin(user: User, request: SetPinRequest) -> None:
    """Replace the PIN of a user, and reset the count of failed tries, which ends a lock. Raises CommonPin."""
    if rules.is_common_pin(request.pin):
        raise CommonPin
    try:
        login_store.set_pin(user.email, user.owner, rules.hash_pin(request.pin))
    except ConditionFailed:  # the address no longer belongs to the user
        raise Unauthenticated from None
    login_store.reset_pin_tries(user.email)
