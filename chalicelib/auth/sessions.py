"""Sessions: starting them, describing them, and ending them."""

from chalicelib.auth import rules, store, tokens
from chalicelib.auth.entities import User
from chalicelib.auth.rules import MAX_ENDED_SESSIONS
from chalicelib.auth.schemas import LoginResponse, MeResponse, to_user_response
from chalicelib.auth.tokens import Caller
from chalicelib.core.timestamps import iso


def start_session(user: User, now: int) -> LoginResponse:
    """Issue a session's token for a user who has proved who they are. Writes nothing."""
    return LoginResponse(token=tokens.issue("user", user.owner, user.owner, user.ver, now), user=to_user_response(user))


def to_me_response(user: User, caller: Caller) -> MeResponse:
    return MeResponse(
        user=to_user_response(user),
        expires_at=iso(caller.expires),
        token_id=None if caller.is_session else caller.ver,
    )


def end_session(user: User, caller: Caller, now: int) -> None:
    """Log out: end the session of this call's token, or revoke the personal token. It stops working immediately.

    A user's item stores at most MAX_ENDED_SESSIONS ended sessions. Ending one more ends all of the user's sessions.
    """
    if not caller.is_session:
        store.delete_token(user.owner, caller.ver)
        return
    expired = rules.expired_fingerprints(user.ended_sessions, now)
    if expired:
        store.delete_ended_sessions(user.owner, expired)
    if len(user.ended_sessions - expired) >= MAX_ENDED_SESSIONS:
        store.end_all_sessions(user.owner, tokens.new_version(), tokens_too=False)
    else:
        store.save_ended_session(user.owner, rules.session_fingerprint(caller.id, caller.expires))


def end_all_sessions(user: User) -> None:
    """Log out everywhere: end every session and revoke every personal token. The tokens of agents remain valid."""
    store.end_all_sessions(user.owner, tokens.new_version(), tokens_too=True)
