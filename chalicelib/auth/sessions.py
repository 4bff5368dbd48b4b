"""Sessions: beginning them, whose they are, and ending them."""

from chalicelib.auth import rules, store, tokens
from chalicelib.auth.entities import User
from chalicelib.auth.rules import MAX_ENDED_SESSIONS
from chalicelib.auth.schemas import LoginResponse, MeResponse, to_user_response
from chalicelib.auth.tokens import Caller
from chalicelib.core.timestamps import iso


def start_session(user: User, now: int) -> LoginResponse:
    return LoginResponse(token=tokens.issue("user", user.owner, user.owner, user.ver, now), user=to_user_response(user))


def to_me_response(user: User, caller: Caller) -> MeResponse:
    return MeResponse(
        user=to_user_response(user),
        expires_at=iso(caller.expires),
        token_id=None if caller.is_session else caller.ver,
    )


def end_session(user: User, caller: Caller, now: int) -> None:
    """Log out: the token that came with this call is dead at once, be it a session's or a personal one.

    A user's item remembers a bounded number of ended sessions; with one too many, all of the user's sessions end.
    """
    if not caller.is_session:
        store.delete_token(user.owner, caller.ver)
        return
    old = rules.expired_fingerprints(user.ended_sessions, now)
    if old:
        store.delete_ended_sessions(user.owner, old)
    if len(user.ended_sessions - old) >= MAX_ENDED_SESSIONS:
        store.end_all_sessions(user.owner, tokens.new_version(), tokens_too=False)
    else:
        store.save_ended_session(user.owner, rules.session_fingerprint(caller.id, caller.expires))


def end_all_sessions(user: User) -> None:
    """Log out everywhere: every session and every personal token is dead at once. Agents' tokens are their own."""
    store.end_all_sessions(user.owner, tokens.new_version(), tokens_too=True)
