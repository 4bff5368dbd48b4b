"""Personal tokens: tokens that a user creates for programs. Each has a name, is returned once, and can be revoked."""

from collections.abc import Sequence
from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import rules, service, store, tokens
from chalicelib.auth.entities import PersonalToken, User
from chalicelib.auth.rules import MAX_PERSONAL_TOKENS
from chalicelib.auth.schemas import (
    CreateTokenRequest,
    CreateTokenResponse,
    PersonalTokenList,
    PersonalTokenResponse,
    to_token_response,
)
from chalicelib.core.errors import Conflict, NotFound, Unavailable
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
    to be lost. Raises IdempotencyKeyReused and TooManyTokens.
    """
    token = PersonalToken(
        id=tokens.new_version(),
        name=request.name,
        created_at=now,
        expires_at=now + request.expires_in_days * DAY,
        request_fingerprint=None
        if idempotency_key is None
        else f"{fingerprint(idempotency_key)}.{fingerprint(request.model_dump())}",
    )
    for _ in range(_MAX_TRIES):
        replaced = rules.replaced_tokens(user.tokens, token.request_fingerprint, now)
        if len(user.tokens) - len(replaced) >= MAX_PERSONAL_TOKENS:
            raise TooManyTokens
        try:
            store.save_token(user.owner, token, replaced)
        except dynamodb.ConditionFailed as failed:  # another token was created or revoked meanwhile
            if failed.row is None:
                break
            user = store.to_user(failed.row)
            continue
        signed = tokens.issue("personal", user.owner, user.owner, token.id, now, expires=token.expires_at)
        return CreateTokenResponse(token=signed, **dict(to_token_response(token)))
    raise Unavailable


def list_tokens(user: User, query: ListQuery, now: int) -> PersonalTokenList:
    """A page of the personal tokens that have not expired, newest first."""
    live = sorted(user.tokens.values(), key=lambda token: (-token.created_at, token.id))
    rows: list[dynamodb.Row] = [{"at": token.created_at, "id": token.id} for token in live if token.expires_at > now]

    def find(limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
        remaining = [row for row in rows if start is None or (-row["at"], row["id"]) > (-start["at"], start["id"])]
        return dynamodb.Page(remaining[:limit], remaining[limit - 1] if len(remaining) > limit else None)

    def load(found: Sequence[dynamodb.Row]) -> list[PersonalTokenResponse]:
        return [to_token_response(user.tokens[row["id"]]) for row in found]

    return list_page(PersonalTokenList, query, f"tokens|{user.owner}", service.cursors(now), find, dict, load)


def revoke_token(user: User, token_id: str) -> None:
    """Revoke a personal token. It stops working immediately. Raises TokenNotFound."""
    if token_id not in user.tokens:
        raise TokenNotFound
    store.delete_token(user.owner, token_id)
