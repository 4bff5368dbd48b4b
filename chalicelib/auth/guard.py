"""Who may call a route: the first line of every handler."""

from chalicelib.auth import service, tokens
from chalicelib.auth.model import User
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, AgentTokenInvalid, Forbidden, Unauthenticated
from chalicelib.http import Call
from chalicelib.ratelimit import Meter


def user(call: Call, meter: Meter) -> User:
    """A user, let in and counted. Raises Forbidden for an agent's token."""
    caller = anyone(call)
    if caller.is_agent:
        raise Forbidden("This needs a user's token; an agent's may only poll, beat and report on its own tasks.")
    return service.admit(caller, meter, call.now)


def anyone(call: Call) -> Caller:
    """Whoever holds a good token. The version of an agent's token is checked by the first write on the agent."""
    caller = tokens.verify(call.bearer, call.now)
    call.who = caller.subject
    return caller


def agent(call: Call, agent_id: str, meter: Meter) -> Caller:
    """A caller for one agent's own routes: the agent itself, or its user (let in and counted here).

    Raises AgentNotFound for another agent: they do not exist for it. Raises AgentTokenInvalid: on these routes the
    spec has a title of its own for 401.
    """
    try:
        caller = anyone(call)
        if not caller.is_agent:
            service.admit(caller, meter, call.now)
    except AgentTokenInvalid:
        raise
    except Unauthenticated as error:
        raise AgentTokenInvalid(error.message) from None
    if caller.is_agent and caller.subject != agent_id:
        raise AgentNotFound
    return caller
