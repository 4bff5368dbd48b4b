"""Named queries and conditional writes on the table `credentials`: the sessions and tokens of users.

A session of this version has a row from its login to its end. A session of version 0.1.0 has a row from its first call
on; that row stays when the session ends, because without a row the session would be accepted again.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from chalicelib import dynamodb
from chalicelib.auth.entities import PersonalToken, RegistrationToken, Session
from chalicelib.auth.tables import CredentialRow
from chalicelib.core.errors import Unauthenticated, Unavailable
from chalicelib.core.settings import HOUR, SECOND
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import RateLimit

_PAGE_SIZE = 1_000

# Sessions.


def save_session(owner: str, session: Session) -> None:
    """Store a session that has started."""
    dynamodb.update_item(_session_key(owner, session), _session_values(session))


def adopt_session(owner: str, session: Session) -> None:
    """Store a session of version 0.1.0 at its first call. Where DynamoDB accepts no writes, a later call stores it."""
    with suppress(Unavailable, dynamodb.ConditionFailed):  # another call stored it meanwhile, or it has ended
        absent = dynamodb.not_exists(CredentialRow.owner)
        dynamodb.update_item(_session_key(owner, session), _session_values(session), absent)


def load_session(owner: str, ver: str, session_id: str) -> Session | None:
    row = dynamodb.get_item(CredentialRow, owner, _session_sk(ver, session_id))
    return None if row is None else to_session(row)


def end_session_item(owner: str, session: Session, now: int) -> dynamodb.TransactItem:
    """End a session, as part of a transaction. Safe to repeat."""
    key = _session_key(owner, session)
    if not session.adopted:
        return dynamodb.transact_delete(key)
    return dynamodb.transact_update(key, [*_session_values(session), dynamodb.set_value(CredentialRow.ended_at, now)])


def find_sessions(owner: str, ver: str, now: int, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """A page of the sessions with this version of the user that have not ended or expired, newest first."""
    valid = dynamodb.greater_than(CredentialRow.until, now) & dynamodb.not_exists(CredentialRow.ended_at)
    return _find(owner, _session_sk(ver, ""), valid, limit, start)


def _find(owner: str, prefix: str, valid: dynamodb.Clause, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """A page of the rows whose key begins with `prefix`, newest first."""
    return dynamodb.query(
        CredentialRow,
        owner,
        key_condition=dynamodb.begins_with(CredentialRow.sk, prefix),
        filter_condition=valid,
        limit=limit,
        start=start,
        forward=False,
        consistent=True,
    )


def cursor_key(row: dynamodb.Row) -> dict[str, Any]:
    """The key from which a list continues after this row."""
    return {"owner": {"S": row["owner"]}, "sk": {"S": row["sk"]}}


def _session_key(owner: str, session: Session) -> dynamodb.Item:
    return dynamodb.item(CredentialRow, owner=owner, sk=_session_sk(session.ver, session.id))


def _session_sk(ver: str, session_id: str) -> str:
    return f"S#{ver}#{session_id}"


def _session_values(session: Session) -> list[dynamodb.Clause]:
    values = {
        "ver": session.ver,
        "created_at": session.created_at,
        "until": session.expires_at,
        "expires_at": session.expires_at // SECOND,
        "used_at": session.used_at,
        "fingerprint": session.fingerprint,
        "address": session.address,
        "user_agent": session.user_agent,
        "adopted": session.adopted or None,
    }
    return dynamodb.set_or_remove(CredentialRow, values)


def to_session(row: dynamodb.Row) -> Session:
    return Session.model_construct(
        id=row["sk"].rpartition("#")[2],
        ver=row["ver"],
        fingerprint=row["fingerprint"],
        created_at=row["createdAt"],
        expires_at=row["until"],
        used_at=row["usedAt"],
        address=row.get("address"),
        user_agent=row.get("userAgent"),
        adopted=row.get("adopted", False),
        ended="endedAt" in row,
    )


# Personal tokens.


def create_token_item(owner: str, token: PersonalToken) -> dynamodb.TransactItem:
    """Store a new personal token, as part of a transaction."""
    row = dynamodb.item(
        CredentialRow,
        owner=owner,
        sk=_token_sk(token.id),
        ver=token.ver,
        created_at=token.created_at,
        until=token.expires_at,
        expires_at=token.expires_at // SECOND,
        name=token.name,
        request=token.request_fingerprint,
        mirrored=token.mirrored,
    )
    return dynamodb.transact_put(row, dynamodb.not_exists(CredentialRow.owner))


def delete_token_item(owner: str, token_id: str) -> dynamodb.TransactItem:
    """Revoke a personal token, as part of a transaction. Safe to repeat."""
    return dynamodb.transact_delete(_token_key(owner, token_id))


def load_token(owner: str, token_id: str) -> PersonalToken | None:
    row = dynamodb.get_item(CredentialRow, owner, _token_sk(token_id))
    return None if row is None else _to_token(row)


def all_tokens(owner: str) -> Iterator[PersonalToken]:
    """Every stored personal token of a user, including expired ones. One request for a thousand tokens."""
    pages = dynamodb.paginate(
        lambda start: dynamodb.query(
            CredentialRow,
            owner,
            key_condition=dynamodb.begins_with(CredentialRow.sk, _token_sk("")),
            limit=_PAGE_SIZE,
            start=start,
            consistent=True,
        )
    )
    return (_to_token(row) for page in pages for row in page.rows)


def _token_key(owner: str, token_id: str) -> dynamodb.Item:
    return dynamodb.item(CredentialRow, owner=owner, sk=_token_sk(token_id))


def _token_sk(token_id: str) -> str:
    return f"T#{token_id}"


def _to_token(row: dynamodb.Row) -> PersonalToken:
    return PersonalToken.model_construct(
        id=row["sk"].partition("#")[2],
        name=row["name"],
        created_at=row["createdAt"],
        expires_at=row["until"],
        used_at=row.get("usedAt"),
        request_fingerprint=row.get("request"),
        ver=row["ver"],
        mirrored=row["mirrored"],
    )


# Registration tokens.


def create_registration_item(owner: str, token: RegistrationToken) -> dynamodb.TransactItem:
    """Store a new registration token, as part of a transaction."""
    row = dynamodb.item(
        CredentialRow,
        owner=owner,
        sk=_registration_sk(token.id),
        ver=token.ver,
        created_at=token.created_at,
        until=token.expires_at,
        expires_at=token.expires_at // SECOND,
        uses=token.uses,
        used=0,
        capabilities=token.capabilities,
        repos=token.repos,
        request=token.request_fingerprint,
        calls={},
    )
    return dynamodb.transact_put(row, dynamodb.not_exists(CredentialRow.owner))


def replace_registration_item(owner: str, token_id: str) -> dynamodb.TransactItem:
    """Delete a registration token that another one replaces, in the same transaction. Fails where it does not exist."""
    return dynamodb.transact_delete(_registration_key(owner, token_id), dynamodb.exists(CredentialRow.owner))


def delete_registration(owner: str, token_id: str) -> None:
    """Delete a registration token. Safe to repeat."""
    dynamodb.transact_write(dynamodb.transact_delete(_registration_key(owner, token_id)))


def load_registration(owner: str, token_id: str) -> RegistrationToken | None:
    row = dynamodb.get_item(CredentialRow, owner, _registration_sk(token_id))
    return None if row is None else to_registration_token(row)


def use_registration_item(owner: str, token: RegistrationToken, now: int) -> dynamodb.TransactItem:
    """Count one registered agent, as part of the transaction that stores the agent. Fails where the token was deleted,
    has expired, or has no use left."""
    valid = dynamodb.less_than(CredentialRow.used, token.uses) & dynamodb.greater_than(CredentialRow.until, now)
    return dynamodb.transact_update(_registration_key(owner, token.id), [dynamodb.add(CredentialRow.used, 1)], valid)


def admit_registration(
    owner: str, ver: str, token_id: str, rate_limit: RateLimit, now: int, caller: str
) -> RegistrationToken:
    """Check that a registration token exists and count the call, in one write.

    `ver` is the version of the user, and `caller` is the id under which a rate limit is remembered. Raises
    Unauthenticated, RateLimited and Unavailable.
    """
    key = _registration_key(owner, token_id)
    valid = dynamodb.greater_than(CredentialRow.until, now) & dynamodb.equals(CredentialRow.ver, ver)
    try:
        row = dynamodb.update_item(
            key,
            [rate_limits.increment(CredentialRow.calls, rate_limit, now)],
            valid & rate_limits.within_limit(CredentialRow.calls, rate_limit, now),
        )
    except dynamodb.ConditionFailed as failed:
        if failed.row is None or failed.row["until"] <= now or failed.row["ver"] != ver:
            raise Unauthenticated from None
        rate_limits.raise_if_exhausted(failed.row["calls"], rate_limit, now, caller)
        raise
    rate_limits.record(row["calls"], rate_limit, now, caller)
    rate_limits.remove_stale_windows(key, CredentialRow.calls, row["calls"], now)
    return to_registration_token(row)


def find_registrations(owner: str, ver: str, now: int, limit: int, start: dict[str, Any] | None) -> dynamodb.Page:
    """A page of the registration tokens with this version of the user that have not expired, newest first."""
    valid = dynamodb.greater_than(CredentialRow.until, now) & dynamodb.equals(CredentialRow.ver, ver)
    return _find(owner, _registration_sk(""), valid, limit, start)


def _registration_key(owner: str, token_id: str) -> dynamodb.Item:
    return dynamodb.item(CredentialRow, owner=owner, sk=_registration_sk(token_id))


def _registration_sk(token_id: str) -> str:
    return f"R#{token_id}"


def to_registration_token(row: dynamodb.Row) -> RegistrationToken:
    return RegistrationToken.model_construct(
        id=row["sk"].partition("#")[2],
        ver=row["ver"],
        created_at=row["createdAt"],
        expires_at=row["until"],
        uses=row["uses"],
        used=row["used"],
        capabilities=row.get("capabilities"),
        repos=row.get("repos"),
        request_fingerprint=row.get("request"),
    )


# Sessions and personal tokens.


def record_session_use(owner: str, session: Session, now: int) -> None:
    """Record the hour of a session's call, once an hour."""
    if session.used_at < now // HOUR * HOUR:
        _record_use(_session_key(owner, session), now)


def record_token_use(owner: str, token: PersonalToken, now: int) -> None:
    """Record the hour of a personal token's call, once an hour. The write that admits the call of a mirrored token
    records it on the user's item."""
    if not token.mirrored and (token.used_at or 0) < now // HOUR * HOUR:
        _record_use(_token_key(owner, token.id), now)


def _record_use(key: dynamodb.Item, now: int) -> None:
    with suppress(Unavailable, dynamodb.ConditionFailed):  # a later call records it; or the credential was deleted
        used_at = dynamodb.set_value(CredentialRow.used_at, now // HOUR * HOUR)
        dynamodb.update_item(key, [used_at], dynamodb.exists(CredentialRow.owner))
