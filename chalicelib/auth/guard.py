"""Authenticates and authorizes requests. A route handler calls one of these functions before anything else.

A token is in the header Authorization, or in the session cookie of a browser.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.auth import service, tokens
from chalicelib.auth.entities import User
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import AgentNotFound, AgentTokenInvalid, Forbidden, Unauthenticated
from chalicelib.core.settings import SECOND
from chalicelib.http import Request, browser, rate_limits

COOKIE = "devflow-session"


def admitted_user(request: Request) -> User:
    """Admit a user, and count the call on the route's rate limit.

    Raises Forbidden for an agent's token, Unauthenticated, RateLimited and Unavailable.
    """
    return service.admit(user_caller(request), request.rate_limit, request.now)


def session_caller(request: Request) -> Caller:
    """The caller of a request with the token of a session. `service.admit` has yet to check and count the call.

    Raises Forbidden for a personal token. A token that leaks from a program must not create further tokens or change
    how its user logs in.
    """
    caller = user_caller(request)
    if not caller.is_session:
        rate_limits.report_uncounted(caller.owner, request.rate_limit, request.now)
        raise Forbidden("A personal token cannot change logins and tokens. Log in, and use the token of that session.")
    return caller


def user_caller(request: Request) -> Caller:
    """The caller of a request with a user's token. `service.admit` has yet to check and count the call.

    Raises Forbidden for an agent's token.
    """
    caller = authenticated(request)
    if caller.is_agent:
        rate_limits.report_uncounted(_count_key(caller), request.rate_limit, request.now)
        raise Forbidden(
            "An agent's token cannot be used here. It is for the agent's own calls and tasks, and for submitting tasks."
            " Use a user's token."
        )
    return caller


def registering_caller(request: Request) -> Caller:
    """The caller of a request with a user's token or a registration token. It has yet to be admitted and counted.

    Raises Forbidden for an agent's token, and Unauthenticated.
    """
    caller = _verified_caller(request)
    return caller if caller.is_registration else user_caller(request)


def authenticated(request: Request) -> Caller:
    """The caller of a request with the valid token of a user or an agent. Raises Unauthenticated, and Forbidden for a
    registration token.

    The token's version is not checked here: the first write on the item of the user or agent does that.
    """
    caller = _verified_caller(request)
    if caller.is_registration:
        rate_limits.report_uncounted(caller.id, request.rate_limit, request.now)
        raise Forbidden("A registration token can only register agents, with POST /api/agents.")
    return caller


def _verified_caller(request: Request) -> Caller:
    caller = tokens.verify(_request_token(request), request.now)
    request.caller_id = caller.subject
    return caller


def session_cookie(token: str) -> str:
    """The value of the Set-Cookie header that stores a session's token in a browser."""
    return browser.cookie_header(COOKIE, token, tokens.session_lifetime() // SECOND)


def _request_token(request: Request) -> str | None:
    """The bearer token of the header Authorization; without that header, the token in the session cookie.

    A browser also sends the cookie with requests from other sites' pages. Raises Unauthenticated for such a request.
    """
    if "authorization" in request.headers:
        return request.bearer_token
    token = browser.cookie_value(request, COOKIE)
    if token is not None and not browser.is_same_origin(request):
        raise Unauthenticated("A session cookie is accepted only on requests from this platform's own pages.")
    return token


def agent_caller(request: Request, agent_id: str) -> Caller:
    """The caller of a route of one agent: the agent itself, or its user. A user is admitted and counted here.

    Raises AgentNotFound for another agent, because agents cannot see each other.
    """
    caller = authenticated(request)
    if not caller.is_agent:
        service.admit(caller, request.rate_limit, request.now)
    elif caller.subject != agent_id:
        rate_limits.report_uncounted(_count_key(caller), request.agent_rate_limit, request.now)
        raise AgentNotFound
    return caller


def _count_key(agent: Caller) -> str:
    """The name under which `rate_limits` remembers the counts of an agent."""
    return f"{agent.owner}#{agent.subject}"


@contextmanager
def agent_error_titles() -> Iterator[None]:
    """Raise AgentTokenInvalid in place of Unauthenticated. The specification gives the 401 of polls and heartbeats a
    different title."""
    try:
        yield
    except AgentTokenInvalid:
        raise
    except Unauthenticated as error:
        raise AgentTokenInvalid(error.message) from None
