"""Personal tokens: tokens that a user creates for programs. Each has a name, is returned once, and can be revoked."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import credential_store, rules, service, store, tokens
from chalicelib.auth.entities import PersonalToken, User
from chalicelib.auth.schemas import (
    CreateTokenRequest,
    CreateTokenResponse,
    PersonalTokenList,
    PersonalTokenResponse,
    to_token_response,
)
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import Conflict, NotFound, Unauthenticated, Unavailable
from chalicelib.core.settings import DAY
from chalicelib.core.text import fingerprint
from chalicelib.http.pagination import ListQuery, list_page

_MAX_TRIES = 4


class TokenNotFound(NotFound):
    """You have no personal token with this id."""

    title = "Token not found"


class TooManyTokens(Conflict):
    """You have reached the limit of personal tokens for a user. Revoke one first."""


def create_token(user: User, request: CreateTokenRequest, idempotency_key: str | None, now: int) -> CreateTokenResponse:
    """Create a personal token, and return it.

    The same request with the same Idempotency-Key within ten minutes replaces the first token, whose response is taken
    to be lost. Raises IdempotencyKeyReused, TooManyTokens, and Unauthenticated where the user was removed or logged out
    everywhere.
    """
    request_fingerprint = (
        None if idempotency_key is None else f"{fingerprint(idempotency_key)}.{fingerprint(request.model_dump())}"
    )
    current: User | None = user
    for _ in range(_MAX_TRIES):
        if current is None or current.ver != user.ver:
            raise Unauthenticated
        token = _create_token(current, request, request_fingerprint, now)
        if token is not None:
            signed = tokens.issue("personal", user.owner, user.owner, token.id, now, expires=token.expires_at)
            return CreateTokenResponse(token=signed, **dict(to_token_response(token)))
        current = store.load_user(user.owner)
    raise Unavailable


def _create_token(
    user: User, request: CreateTokenRequest, request_fingerprint: str | None, now: int
) -> PersonalToken | None:
    """Store a new personal token. Returns None where the user's item was changed meanwhile. Raises IdempotencyKeyReused
    and TooManyTokens."""
    found = _live_tokens(user, now)
    lost = rules.lost_token(found.values(), request_fingerprint, now)
    if len(found) - (lost is not None) >= rules.MAX_PERSONAL_TOKENS:
        raise TooManyTokens
    mirrored = user.mirrored_tokens or {}
    removed = [each.id for each in mirrored.values() if each.id not in found or each == lost]
    token = PersonalToken(
        id=tokens.new_version(),
        name=request.name,
        created_at=now,
        expires_at=now + request.expires_in_days * DAY,
        request_fingerprint=request_fingerprint,
        ver=user.ver,
        mirrored=user.mirrored_tokens is not None and len(mirrored) - len(removed) < rules.MAX_MIRRORED_TOKENS,
    )
    items = [store.mirror_token_item(user, token, removed), credential_store.create_token_item(user.owner, token)]
    if lost is not None:
        items.append(credential_store.delete_token_item(user.owner, lost.id))
    try:
        dynamodb.transact_write(*items)
    except dynamodb.TransactionCancelled as cancelled:
        if cancelled.rows.get(1) is None:
            return None  # otherwise an earlier try wrote the token, and its response was lost
    return token


def list_tokens(user: User, query: ListQuery, now: int) -> PersonalTokenList:
    """A page of the personal tokens that have not expired, newest first."""
    found = _live_tokens(user, now)
    live = sorted(found.values(), key=lambda token: (-token.created_at, token.id))
    rows: list[dynamodb.Row] = [{"at": token.created_at, "id": token.id} for token in live]

    def find(limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
        remaining = [row for row in rows if start is None or (-row["at"], row["id"]) > (-start["at"], start["id"])]
        return dynamodb.Page(remaining[:limit], remaining[limit - 1] if len(remaining) > limit else None)

    def load(rows: Sequence[dynamodb.Row]) -> list[PersonalTokenResponse]:
        return [to_token_response(found[row["id"]]) for row in rows]

    return list_page(PersonalTokenList, query, f"tokens|{user.owner}", service.cursors(now), find, dict, load)


def _live_tokens(user: User, now: int) -> dict[str, PersonalToken]:
    """The personal tokens of a user that have not been revoked and have not expired, by id.

    A mirrored token is valid while it is on the user's item, which also has its last use.
    """
    valid = dict(user.mirrored_tokens or {})
    valid |= {
        token.id: token
        for token in credential_store.all_tokens(user.owner)
        if not token.mirrored and token.ver == user.ver
    }
    return {token_id: token for token_id, token in valid.items() if token.expires_at > now}


def revoke_token(user: User, token_id: str) -> None:
    """Revoke a personal token. It stops working immediately. Raises TokenNotFound."""
    mirrored = token_id in (user.mirrored_tokens or {})
    if not mirrored:
        token = credential_store.load_token(user.owner, token_id)
        if token is None or token.mirrored or token.ver != user.ver:
            raise TokenNotFound
    items = [credential_store.delete_token_item(user.owner, token_id)]
    if mirrored:
        items.append(store.remove_token_item(user.owner, token_id))
    try:
        dynamodb.transact_write(*items)
    except dynamodb.TransactionCancelled:  # the user was removed
        raise Unauthenticated from None


def log_out(user: User, caller: Caller) -> None:
    """Revoke the personal token of this call."""
    with suppress(TokenNotFound):  # another call has revoked it meanwhile
        revoke_token(user, caller.ver)
