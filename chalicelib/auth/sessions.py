"""Sessions: beginning them, whose they are, and ending them."""

from chalicelib.auth import model, store, tokens
from chalicelib.auth.model import MOST_ENDED, User
from chalicelib.auth.shapes import LoggedIn, Me, shown_user
from chalicelib.auth.tokens import Caller
from chalicelib.times import iso


def begin(user: User, now: int) -> LoggedIn:
    return LoggedIn(token=tokens.issue("user", user.owner, user.owner, user.ver, now), user=shown_user(user))


def me(user: User, caller: Caller) -> Me:
    return Me(
        user=shown_user(user),
        expires_at=iso(caller.expires),
        token_id=None if caller.is_session else caller.ver,
    )


def end(user: User, caller: Caller, now: int) -> None:
    """Log out: the token that came with this call is dead at once, be it a session's or a personal one.

    A user's item remembers a bounded number of ended sessions; with one too many, all of the user's sessions end.
    """
    if not caller.is_session:
        store.remove_token(user.owner, caller.ver)
        return
    old = model.expired(user.ended, now)
    if old:
        store.forget_sessions(user.owner, old)
    if len(user.ended - old) >= MOST_ENDED:
        store.end_all(user.owner, tokens.new_version(), tokens_too=False)
    else:
        store.end_session(user.owner, model.mark(caller.id, caller.expires))


def end_all(user: User) -> None:
    """Log out everywhere: every session and every personal token is dead at once. Agents' tokens are their own."""
    store.end_all(user.owner, tokens.new_version(), tokens_too=True)
