"""Sessions: starting them, describing them, listing them, and ending them."""

from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.auth import credential_store, rules, service, store, tokens
from chalicelib.auth.entities import LoginOrigin, Session, User
from chalicelib.auth.schemas import (
    LoginResponse,
    MeResponse,
    SessionList,
    SessionResponse,
    to_session_response,
    to_user_response,
)
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import NotFound, Unauthenticated
from chalicelib.core.settings import HOUR, SECOND
from chalicelib.core.timestamps import iso
from chalicelib.http.pagination import ListQuery, list_page


class SessionNotFound(NotFound):
    """You have no session with this id, or it has ended."""

    title = "Session not found"


def start_session(user: User, origin: LoginOrigin, now: int) -> LoginResponse:
    """Store a session for a user who has proved who they are, and issue its token."""
    session_id = rules.new_session_id(now)
    expires = (now + tokens.session_lifetime()) // SECOND * SECOND
    session = Session(
        id=session_id,
        ver=user.ver,
        fingerprint=rules.session_fingerprint(session_id, expires),
        created_at=now,
        expires_at=expires,
        used_at=now // HOUR * HOUR,
        address=origin.address or None,
        user_agent=origin.user_agent or None,
    )
    token = tokens.issue("user", user.owner, user.owner, user.ver, now, expires=expires, session=session_id)
    credential_store.save_session(user.owner, session)
    return LoginResponse(token=token, user=to_user_response(user))


def to_me_response(user: User, caller: Caller) -> MeResponse:
    return MeResponse(
        user=to_user_response(user),
        expires_at=iso(caller.expires),
        token_id=None if caller.is_session else caller.ver,
    )


def list_sessions(user: User, caller: Caller, query: ListQuery, now: int) -> SessionList:
    """A page of the sessions that have not ended or expired, newest first."""
    current = service.session_of(caller, now).id

    def load(rows: Sequence[dynamodb.Row]) -> list[SessionResponse]:
        return [to_session_response(credential_store.to_session(row), current) for row in rows]

    return list_page(
        SessionList,
        query,
        f"sessions|{user.owner}|{user.ver}",
        service.cursors(now),
        lambda limit, start: credential_store.find_sessions(user.owner, user.ver, now, limit, start),
        credential_store.cursor_key,
        load,
    )


def end_session(user: User, session_id: str, now: int) -> None:
    """End one of the user's sessions. It stops working immediately. Raises SessionNotFound."""
    session = credential_store.load_session(user.owner, user.ver, session_id)
    if session is None or session.ended or session.expires_at <= now:
        raise SessionNotFound
    _end_session(user, session, now)


def log_out(user: User, caller: Caller, now: int) -> None:
    """End the session of this call's token. It stops working immediately."""
    _end_session(user, service.session_of(caller, now), now)


def _end_session(user: User, session: Session, now: int) -> None:
    """End a session. Its fingerprint is also stored on the user's item, where version 0.1.0 finds it, while the item
    has space."""
    surplus = rules.surplus_fingerprints(user.ended_sessions, now)
    if surplus:
        store.delete_ended_sessions(user.owner, surplus)
    has_space = len(user.ended_sessions - surplus) < rules.MAX_ENDED_SESSIONS
    try:
        dynamodb.transact_write(
            credential_store.end_session_item(user.owner, session, now),
            store.ended_session_item(user.owner, session.fingerprint if has_space else None),
        )
    except dynamodb.TransactionCancelled:  # the user was removed
        raise Unauthenticated from None


def end_all_sessions(user: User) -> None:
    """Log out everywhere: end every session and revoke every personal token. The tokens of agents remain valid."""
    store.end_all_sessions(user.owner, tokens.new_version())
