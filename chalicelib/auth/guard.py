"""Who may call a route: the first line of every handler.

A token comes in the header Authorization, or in the cookie of somebody who signed in with a browser.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.auth import service, tokens
from chalicelib.auth.model import User
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, AgentTokenInvalid, Forbidden, Unauthenticated
from chalicelib.http import Call, browser
from chalicelib.settings import SECOND

COOKIE = "devflow-session"


def user(call: Call) -> User:
    """A user, let in and counted on what the route declares. Raises Forbidden for an agent's token."""
    return service.admit(user_token(call), call.meter, call.now)


def session(call: Call) -> Caller:
    """Somebody who has logged in, whom the service lets in. Raises Forbidden for a token that was made for a program:
    what leaks from a program must not make further tokens, nor change how its user logs in."""
    caller = user_token(call)
    if not caller.is_session:
        raise Forbidden("This needs somebody who has logged in; a personal token may not change logins and tokens.")
    return caller


def user_token(call: Call) -> Caller:
    """The holder of a user's token, whom the service lets in. Raises Forbidden for an agent's token."""
    caller = anyone(call)
    if caller.is_agent:
        raise Forbidden("This needs a user's token; an agent's is for its own calls, its own tasks, and submitting.")
    return caller


def anyone(call: Call) -> Caller:
    """Whoever holds a good token. The version of an agent's token is checked by the first write on the agent."""
    caller = tokens.verify(_token(call), call.now)
    call.who = caller.subject
    return caller


def session_cookie(token: str) -> str:
    return browser.cookie(COOKIE, token, tokens.session_lifetime() // SECOND)


def _token(call: Call) -> str | None:
    """The bearer token; without the header, the one in a browser's cookie, which comes along whatever page asked.
    Raises Unauthenticated for a cookie on a request that was not one of our own pages'."""
    if "authorization" in call.headers:
        return call.bearer
    token = browser.said(call, COOKIE)
    if token is not None and not browser.from_own_page(call):
        raise Unauthenticated("A browser's session is good for requests of this platform's own pages alone.")
    return token


def agent(call: Call, agent_id: str) -> Caller:
    """A caller for one agent's own routes: the agent itself, or its user (let in and counted here).

    Raises AgentNotFound for another agent: they do not exist for it.
    """
    caller = anyone(call)
    if not caller.is_agent:
        service.admit(caller, call.meter, call.now)
    elif caller.subject != agent_id:
        raise AgentNotFound
    return caller


@contextmanager
def titled_as_agents() -> Iterator[None]:
    """Around what commands and heartbeat do: there the spec has a title of its own for 401."""
    try:
        yield
    except AgentTokenInvalid:
        raise
    except Unauthenticated as error:
        raise AgentTokenInvalid(error.message) from None
