"""Personal tokens: for programs of a user's, each named, shown once, and revocable by itself."""

from collections.abc import Sequence
from typing import Any

from chalicelib import db
from chalicelib.auth import model, service, store, tokens
from chalicelib.auth.model import MOST_TOKENS, PersonalToken, User
from chalicelib.auth.shapes import MadeToken, NewToken, TokenListing, TokenReply, shown_token
from chalicelib.errors import Conflict, NotFound, Unavailable
from chalicelib.pages import ListQuery, listed
from chalicelib.settings import DAY
from chalicelib.texts import digest

_TRIES = 4


class TokenNotFound(NotFound):
    """You have no personal token with this id."""

    title = "Token not found"


class TooManyTokens(Conflict):
    """You have as many personal tokens as a user may have; revoke some."""


def make(user: User, request: NewToken, idempotency_key: str | None, now: int) -> MadeToken:
    """A new personal token. The same Idempotency-Key within ten minutes: a new one in place of the first, whose answer
    was lost. Raises OtherToken and TooManyTokens."""
    token = PersonalToken(
        id=tokens.new_version(),
        name=request.name,
        created_at=now,
        expires_at=now + request.expires_in_days * DAY,
        request=None if idempotency_key is None else f"{digest(idempotency_key)}.{digest(request.model_dump())}",
    )
    for _ in range(_TRIES):
        gone = model.superseded(user.tokens, token.request, now)
        if len(user.tokens) - len(gone) >= MOST_TOKENS:
            raise TooManyTokens
        try:
            store.add_token(user.owner, token, gone)
        except db.Failed as failed:  # another one was made or revoked meanwhile
            if failed.row is None:
                break
            user = store.to_user(failed.row)
            continue
        signed = tokens.issue("personal", user.owner, user.owner, token.id, now, expires=token.expires_at)
        return MadeToken(token=signed, **dict(shown_token(token)))
    raise Unavailable


def listing(user: User, query: ListQuery, now: int) -> TokenListing:
    """A page of the personal tokens that have not expired, the newest first."""
    live = sorted(user.tokens.values(), key=lambda token: (-token.created_at, token.id))
    rows: list[db.Row] = [{"at": token.created_at, "id": token.id} for token in live if token.expires_at > now]

    def find(limit: int, start: dict[str, Any] | None) -> db.Page:
        left = [row for row in rows if start is None or (-row["at"], row["id"]) > (-start["at"], start["id"])]
        return db.Page(left[:limit], left[limit - 1] if len(left) > limit else None)

    def load(found: Sequence[db.Row]) -> list[TokenReply]:
        return [shown_token(user.tokens[row["id"]]) for row in found]

    return listed(TokenListing, query, f"tokens|{user.owner}", service.cursors(now), find, dict, load)


def revoke(user: User, token: str) -> None:
    """Dead at once. Raises TokenNotFound."""
    if token not in user.tokens:
        raise TokenNotFound
    store.remove_token(user.owner, token)
