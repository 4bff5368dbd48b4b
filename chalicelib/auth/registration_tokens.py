"""Registration tokens: with one, a machine registers agents of a user, without a token of the user.

A token registers a limited number of agents, within a limited time, with limited capabilities and repositories. It does
nothing else. It is a signed token that is not stored. Its row in the table `credentials` counts its uses, and deleting
the row revokes the token.
"""

from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.auth import credential_store, login_store, rules, service, store, tokens
from chalicelib.auth.entities import RegistrationToken, User
from chalicelib.auth.schemas import (
    CreateRegistrationTokenRequest,
    CreateRegistrationTokenResponse,
    RegistrationTokenList,
    RegistrationTokenResponse,
    to_registration_response,
)
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import Conflict, DevFlowError, Forbidden, NotFound, Unauthenticated, Unavailable
from chalicelib.core.settings import SECOND
from chalicelib.core.text import fingerprint
from chalicelib.http import rate_limits
from chalicelib.http.pagination import ListQuery, list_page
from chalicelib.http.rate_limits import RateLimit

_MAX_TRIES = 3


class RegistrationTokenNotFound(NotFound):
    """You have no registration token with this id."""

    title = "Registration token not found"


class TooManyRegistrationTokens(Conflict):
    """You have reached the limit of registration tokens for a user. Remove one first."""


class RegistrationTokenUsedUp(Forbidden):
    """This registration token has registered as many agents as it may. Create another one."""


def create_token(
    user: User, request: CreateRegistrationTokenRequest, idempotency_key: str | None, now: int
) -> CreateRegistrationTokenResponse:
    """Create a registration token, and return it.

    The same request with the same Idempotency-Key within ten minutes replaces the first token, whose response is taken
    to be lost. Raises IdempotencyKeyReused and TooManyRegistrationTokens.
    """
    request_fingerprint = (
        None if idempotency_key is None else f"{fingerprint(idempotency_key)}.{fingerprint(request.model_dump())}"
    )
    for _ in range(_MAX_TRIES):
        token = RegistrationToken(
            id=rules.new_registration_token_id(now),
            ver=user.ver,
            created_at=now,
            expires_at=now + request.expires_in_seconds * SECOND,
            uses=request.uses,
            capabilities=request.capabilities,
            repos=request.repos,
            request_fingerprint=request_fingerprint,
        )
        if _store_token(user, token, now):
            signed = tokens.issue("registration", user.owner, user.owner, token.id, now, expires=token.expires_at)
            return CreateRegistrationTokenResponse(registration_token=to_registration_response(token), token=signed)
    raise Unavailable


def _store_token(user: User, token: RegistrationToken, now: int) -> bool:
    """Store a token in place of the lost one. Returns False where a parallel request has replaced that one."""
    limit = rules.MAX_REGISTRATION_TOKENS
    rows = credential_store.find_registrations(user.owner, user.ver, now, 2 * limit, None).rows
    found = [credential_store.to_registration_token(row) for row in rows]
    lost = rules.lost_token(found, token.request_fingerprint, now)
    if len(found) - (lost is not None) >= limit:
        raise TooManyRegistrationTokens
    items = [credential_store.create_registration_item(user.owner, token)]
    if lost is not None:
        items.append(credential_store.replace_registration_item(user.owner, lost.id))
    try:
        dynamodb.transact_write(*items)
    except dynamodb.TransactionCancelled as cancelled:
        return cancelled.rows.get(0) is not None  # an earlier try wrote it, and its response was lost
    return True


def list_tokens(user: User, query: ListQuery, now: int) -> RegistrationTokenList:
    """A page of the registration tokens that have not expired, newest first. Those without a use left are among
    them."""

    def load(rows: Sequence[dynamodb.Row]) -> list[RegistrationTokenResponse]:
        return [to_registration_response(credential_store.to_registration_token(row)) for row in rows]

    return list_page(
        RegistrationTokenList,
        query,
        f"registrations|{user.owner}|{user.ver}",
        service.cursors(now),
        lambda limit, start: credential_store.find_registrations(user.owner, user.ver, now, limit, start),
        credential_store.cursor_key,
        load,
    )


def revoke_token(user: User, token_id: str, now: int) -> None:
    """Revoke a registration token. It registers nothing more. Its agents stay. Raises RegistrationTokenNotFound."""
    token = credential_store.load_registration(user.owner, token_id)
    if token is None or token.ver != user.ver or token.expires_at <= now:
        raise RegistrationTokenNotFound
    credential_store.delete_registration(user.owner, token_id)


def admit(caller: Caller, source_ip: str, rate_limit: RateLimit, now: int) -> tuple[User, RegistrationToken]:
    """Check a registration token, and count the call for the token and for the network address.

    Returns the user, and the token as it is stored. A token without a use left is admitted, because it may repeat a
    registration whose response was lost. Raises Unauthenticated, RateLimited and Unavailable.
    """
    rate_limits.raise_if_cached(caller.id, rate_limit, now)
    user = store.load_user(caller.owner)
    if user is None:
        raise Unauthenticated
    token = credential_store.admit_registration(user.owner, user.ver, caller.ver, rate_limit, now, caller.id)
    of_token = rate_limits.current_quota.get()
    try:
        login_store.count_source_ip(source_ip, rate_limit, now)
    finally:
        rate_limits.report_smaller(of_token)
    return user, token


def use_item(owner: str, token: RegistrationToken, now: int) -> dynamodb.TransactItem:
    """Count one registered agent, as part of the transaction that stores the agent. Fails where no use is left."""
    return credential_store.use_registration_item(owner, token, now)


def use_error(row: dynamodb.Row | None, now: int) -> DevFlowError:
    """The error for which `use_item` failed, given the row of the token as it is stored."""
    is_valid = row is not None and row["until"] > now
    return RegistrationTokenUsedUp() if is_valid else Unauthenticated()
