"""Who may call a route: the first line of every handler."""

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.auth import service, tokens
from chalicelib.auth.model import User
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, AgentTokenInvalid, Forbidden, Unauthenticated
from chalicelib.http import Call


def user(call: Call) -> User:
    """A user, let in and counted on what the route declares. Raises Forbidden for an agent's token."""
    return service.admit(user_token(call), call.meter, call.now)


def user_token(call: Call) -> Caller:
    """The holder of a user's token, whom the service lets in. Raises Forbidden for an agent's token."""
    caller = anyone(call)
    if caller.is_agent:
        raise Forbidden("This needs a user's token; an agent's is for its own calls, its own tasks, and submitting.")
    return caller


def anyone(call: Call) -> Caller:
    """Whoever holds a good token. The version of an agent's token is checked by the first write on the agent."""
    caller = tokens.verify(call.bearer, call.now)
    call.who = caller.subject
    return caller


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
