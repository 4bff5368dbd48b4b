"""Named queries and conditional writes on the table `users`.

The token of a session is valid while its `ver` is the item's, its fingerprint is not in `ended`, and its row in the
table `credentials` exists. A personal token is valid while its row exists, and its id is in `tokens` (where it is
mirrored) or its row has the item's `ver`. The write that counts a call checks the item's part of this.

`ended` and `tokens` are what version 0.1.0 reads. They are bounded, so they do not have everything.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from pynamodb.expressions.condition import size
from pynamodb.expressions.operand import Path

from chalicelib import dynamodb
from chalicelib.auth import login_store
from chalicelib.auth.entities import PersonalToken, User
from chalicelib.auth.rules import MAX_MIRRORED_TOKENS
from chalicelib.auth.tables import UserRow
from chalicelib.core.errors import Unauthenticated, Unavailable
from chalicelib.core.settings import HOUR
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import RateLimit


class TokenCheck(NamedTuple):
    """What makes a token valid: `condition` for the write, and `accepts`, the same condition for an item that was read.

    The write also performs `actions`.
    """

    condition: dynamodb.Clause
    accepts: Callable[[dynamodb.Row], bool]
    actions: tuple[dynamodb.Clause, ...] = ()


def session_check(ver: str, fingerprint: str) -> TokenCheck:
    """The check of a session's token. `fingerprint` is its `rules.session_fingerprint`."""
    return TokenCheck(
        dynamodb.equals(UserRow.ver, ver) & _not_ended(fingerprint),
        lambda row: row["ver"] == ver and fingerprint not in row.get("ended", ()),
    )


@dynamodb.clause
def _not_ended(fingerprint: str) -> Any:
    return ~Path(["ended"]).contains(fingerprint)  # the attribute's own `contains` would split the text


def version_check(ver: str) -> TokenCheck:
    """The check of a personal token that is not mirrored. `ver` is the user's version at its creation."""
    return TokenCheck(dynamodb.equals(UserRow.ver, ver), lambda row: row["ver"] == ver)


def mirrored_token_check(token_id: str, now: int) -> TokenCheck:
    """The check of a personal token that is on the user's item. The write also records the hour of the use."""
    return TokenCheck(
        _has_token(token_id),
        lambda row: token_id in row.get("tokens", {}),
        (_record_use(token_id, now // HOUR * HOUR),),
    )


@dynamodb.clause
def _has_token(token_id: str) -> Any:
    return UserRow.tokens[token_id].exists()


@dynamodb.clause
def _record_use(token_id: str, at: int) -> Any:
    return [UserRow.tokens[token_id]["usedAt"].set(at)]


def admit(owner: str, check: TokenCheck, rate_limit: RateLimit, now: int, caller: str) -> User:
    """Check a user's token and count the call, in one write.

    Where DynamoDB accepts no writes (it throttles the item, or has an outage), a read checks the token and the call is
    not counted. Raises Unauthenticated where the token is revoked or the user does not exist, RateLimited over the
    limit, and Unavailable where the read fails too.
    """
    try:
        row = dynamodb.update_item(
            _row(owner),
            [rate_limits.increment(UserRow.calls, rate_limit, now), *check.actions],
            check.condition & rate_limits.within_limit(UserRow.calls, rate_limit, now),
        )
    except dynamodb.ConditionFailed as failed:
        _raise_if_rejected(failed.row, check, rate_limit, now, caller)
        raise
    except Unavailable:
        row = _raise_if_rejected(dynamodb.get_item(UserRow, owner), check, rate_limit, now, caller)
        rate_limits.record(row["calls"], rate_limit, now, owner)
        return to_user(row)
    rate_limits.record(row["calls"], rate_limit, now, owner)
    rate_limits.remove_stale_windows(_row(owner), UserRow.calls, row["calls"], now)
    return to_user(row)


def _raise_if_rejected(
    row: dynamodb.Row | None, check: TokenCheck, rate_limit: RateLimit, now: int, caller: str
) -> dynamodb.Row:
    """Raise the error for which this call is rejected; return the item where it is not rejected."""
    if row is None or not check.accepts(row):
        raise Unauthenticated
    rate_limits.raise_if_exhausted(row["calls"], rate_limit, now, caller)
    return row


def load_user(owner: str) -> User | None:
    row = dynamodb.get_item(UserRow, owner)
    return None if row is None else to_user(row)


def create_user(
    owner: str, email: str, name: str, ver: str, pin: str | None, now: int, slack_user: str | None = None
) -> str:
    """Create a user and their login, and return the user's id. Returns the existing id where the address has a user.

    `slack_user` links a Slack person to the new user. Raises TransactionCancelled where the person is linked already.
    """
    row = dynamodb.item(
        UserRow,
        owner=owner,
        email=email,
        name=name,
        ver=ver,
        calls={},
        tokens={},
        agents=0,
        open_tasks=0,
        created_at=now,
    )
    try:
        dynamodb.transact_write(
            dynamodb.transact_put(row, dynamodb.not_exists(UserRow.owner)),
            login_store.login_item(email, owner, pin, slack_user),
            *([login_store.slack_user_item(slack_user, owner)] if slack_user else []),
        )
    except dynamodb.TransactionCancelled as cancelled:
        existing = cancelled.rows.get(1)
        if existing is None:
            raise
        return str(existing["owner"])
    return owner


def mirror_token_item(user: User, token: PersonalToken, removed: Collection[str]) -> dynamodb.TransactItem:
    """Copy a new personal token to the user's item where it is mirrored, and remove other tokens from the item, as part
    of a transaction.

    Fails where the user was removed or logged out everywhere, where a removed token is no longer on the item, and where
    the item has no space for the copy.
    """
    condition = dynamodb.equals(UserRow.ver, user.ver)
    actions = []
    for token_id in removed:
        condition &= _has_token(token_id)
        actions.append(_remove_token(token_id))
    if token.mirrored:
        entry = {"name": token.name, "createdAt": token.created_at, "expiresAt": token.expires_at}
        if token.request_fingerprint is not None:
            entry["request"] = token.request_fingerprint
        condition &= _has_fewer_tokens(MAX_MIRRORED_TOKENS + len(removed))
        actions.append(_set_token(token.id, entry))
    return (
        dynamodb.transact_update(_row(user.owner), actions, condition)
        if actions
        else (dynamodb.transact_check(_row(user.owner), condition))
    )


@dynamodb.clause
def _has_fewer_tokens(maximum: int) -> Any:
    return size(UserRow.tokens) < maximum


@dynamodb.clause
def _set_token(token_id: str, entry: Any) -> Any:
    return [UserRow.tokens[token_id].set(entry)]


@dynamodb.clause
def _remove_token(token_id: str) -> Any:
    return [UserRow.tokens[token_id].remove()]


def remove_token_item(owner: str, token_id: str) -> dynamodb.TransactItem:
    """Remove a personal token from the user's item, as part of a transaction. Safe to repeat. Fails where the user was
    removed."""
    return dynamodb.transact_update(_row(owner), [_remove_token(token_id)], dynamodb.exists(UserRow.owner))


def ended_session_item(owner: str, fingerprint: str | None) -> dynamodb.TransactItem:
    """Store the fingerprint of a session that has ended, as part of a transaction. Safe to repeat. None stores nothing.
    Fails where the user was removed."""
    exists = dynamodb.exists(UserRow.owner)
    if fingerprint is None:
        return dynamodb.transact_check(_row(owner), exists)
    return dynamodb.transact_update(_row(owner), [dynamodb.add(UserRow.ended, {fingerprint})], exists)


def delete_ended_sessions(owner: str, fingerprints: Iterable[str]) -> None:
    """Delete these fingerprints of ended sessions."""
    _update_existing(owner, [dynamodb.delete_from(UserRow.ended, set(fingerprints))])


def end_all_sessions(owner: str, ver: str) -> None:
    """Set a new version, which ends every session and revokes every personal token. Safe to repeat."""
    actions = [
        dynamodb.set_value(UserRow.ver, ver),
        dynamodb.remove(UserRow.ended),
        dynamodb.set_value(UserRow.tokens, {}),
    ]
    _update_existing(owner, actions)


def _update_existing(owner: str, actions: list[dynamodb.Clause]) -> None:
    """Update a user's row. Raises Unauthenticated if the user was removed meanwhile. The row is not created again."""
    try:
        dynamodb.update_item(_row(owner), actions, dynamodb.exists(UserRow.owner))
    except dynamodb.ConditionFailed:
        raise Unauthenticated from None


def agent_count_item(owner: str, change: int, maximum: int) -> dynamodb.TransactItem:
    """Add `change` (1 or -1) to the count of agents, as part of a transaction. Adding fails at `maximum`."""
    condition = dynamodb.exists(UserRow.owner) if change < 0 else dynamodb.less_than(UserRow.agents, maximum)
    return dynamodb.transact_update(_row(owner), [dynamodb.add(UserRow.agents, change)], condition)


def clear_open_tasks(owner: str) -> None:
    """Set the count of open tasks to 0, which only earlier versions read. Changes nothing without a user."""
    counted = dynamodb.exists(UserRow.owner) & dynamodb.not_equals(UserRow.open_tasks, 0)
    with suppress(dynamodb.ConditionFailed):
        dynamodb.update_item(_row(owner), [dynamodb.set_value(UserRow.open_tasks, 0)], counted)


def _row(owner: str) -> dynamodb.Item:
    return dynamodb.item(UserRow, owner=owner)


def to_user(row: dynamodb.Row) -> User:
    return User(
        owner=row["owner"],
        email=row["email"],
        name=row["name"],
        ver=row["ver"],
        agents=row["agents"],
        mirrored_tokens={name: _to_token(name, entry) for name, entry in row["tokens"].items()}
        if "tokens" in row
        else None,
        ended_sessions=frozenset(row.get("ended", ())),
    )


def _to_token(name: str, entry: dynamodb.Row) -> PersonalToken:
    return PersonalToken(
        id=name,
        name=entry["name"],
        created_at=entry["createdAt"],
        expires_at=entry["expiresAt"],
        used_at=entry.get("usedAt"),
        request_fingerprint=entry.get("request"),
    )
