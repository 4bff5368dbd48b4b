"""Who may call a route: the first line of every handler.

A token comes in the header Authorization, or in the cookie of somebody who signed in with a browser.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.auth import service, tokens
from chalicelib.auth.entities import User
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import AgentNotFound, AgentTokenInvalid, Forbidden, Unauthenticated
from chalicelib.core.settings import SECOND
from chalicelib.http import Request, browser

COOKIE = "devflow-session"


def admitted_user(request: Request) -> User:
    """A user, let in and counted on what the route declares. Raises Forbidden for an agent's token."""
    return service.admit(user_caller(request), request.rate_limit, request.now)


def session_caller(request: Request) -> Caller:
    """Somebody who has logged in, whom the service lets in. Raises Forbidden for a token that was made for a program:
    what leaks from a program must not make further tokens, nor change how its user logs in."""
    caller = user_caller(request)
    if not caller.is_session:
        raise Forbidden("This needs somebody who has logged in; a personal token may not change logins and tokens.")
    return caller


def user_caller(request: Request) -> Caller:
    """The holder of a user's token, whom the service lets in. Raises Forbidden for an agent's token."""
    caller = authenticated(request)
    if caller.is_agent:
        raise Forbidden("This needs a user's token; an agent's is for its own calls, its own tasks, and submitting.")
    return caller


def authenticated(request: Request) -> Caller:
    """Whoever holds a good token. The version of an agent's token is checked by the first write on the agent."""
    caller = tokens.verify(_request_token(request), request.now)
    request.caller_id = caller.subject
    return caller


def session_cookie(token: str) -> str:
    return browser.cookie_header(COOKIE, token, tokens.session_lifetime() // SECOND)


def _request_token(request: Request) -> str | None:
    """The bearer token; without the header, the one in a browser's cookie, which comes along whatever page asked.
    Raises Unauthenticated for a cookie on a request that was not one of our own pages'."""
    if "authorization" in request.headers:
        return request.bearer_token
    token = browser.cookie_value(request, COOKIE)
    if token is not None and not browser.is_same_origin(request):
        raise Unauthenticated("A browser's session is good for requests of this platform's own pages alone.")
    return token


def agent_caller(request: Request, agent_id: str) -> Caller:
    """A caller for one agent's own routes: the agent itself, or its user (let in and counted here).

    Raises AgentNotFound for another agent: they do not exist for it.
    """
    caller = authenticated(request)
    if not caller.is_agent:
        service.admit(caller, request.rate_limit, request.now)
    elif caller.subject != agent_id:
        raise AgentNotFound
    return caller


@contextmanager
def agent_error_titles() -> Iterator[None]:
    """Around what commands and heartbeat do: there the spec has a title of its own for 401."""
    try:
        yield
    except AgentTokenInvalid:
        raise
    except Unauthenticated as error:
        raise AgentTokenInvalid(error.message) from None
