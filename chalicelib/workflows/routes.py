"""What agents call that moves tasks: to be there, to get work, to say that they are alive, and to go."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from chalice.app import Blueprint
from pydantic import Field

from chalicelib.agents.holds import OtherInstance, Sign
from chalicelib.agents.model import OtherRegistration
from chalicelib.agents.service import TooManyAgents
from chalicelib.agents.shapes import Beaten, Heartbeat, Register, Registered, Removed
from chalicelib.auth import guard
from chalicelib.errors import AgentExists, AgentNotFound, AgentTokenInvalid, DevFlowError
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS, HEARTBEAT, TASKS_API
from chalicelib.tasks import claims
from chalicelib.tasks.views import Commands
from chalicelib.types import Request
from chalicelib.workflows import agents, stats
from chalicelib.workflows.stats import Stats

blueprint = Blueprint(__name__)
R = TypeVar("R", bound=Request)


class PollQuery(Request):
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@route(
    blueprint, "POST", "/api/agents", "user", AGENTS_API,
    body=Register, idempotency_key=True, answer=Registered, status=201,
    raises=(AgentExists, TooManyAgents, OtherRegistration),
)  # fmt: skip
def register_agent(call: Call) -> Answer:
    """Register an agent; the answer has its token."""
    user = guard.user(call)
    return Answer(agents.register(user, call.body(Register), call.idempotency_key, call.now))


@route(blueprint, "DELETE", "/api/agents/{agent_id}", "user", AGENTS_API, answer=Removed, raises=(AgentNotFound,))
def remove_agent(call: Call, agent_id: str) -> Answer:
    """Remove an agent: its token is dead, and what it holds goes back."""
    user = guard.user(call)
    agents.remove(user.owner, agent_id, call.now)
    return Answer(Removed(agent_id=agent_id))


@route(
    blueprint, "GET", "/api/agents/{agent_id}/commands", "agent", AGENTS_API, COMMANDS,
    query=PollQuery, answer=Commands, raises=(AgentTokenInvalid, AgentNotFound),
)  # fmt: skip
def poll_commands(call: Call, agent_id: str) -> Answer:
    """Claim tasks for an agent, and renew its claims."""
    with guard.titled_as_agents():
        caller = guard.agent(call, agent_id)
        sign = Sign(caller, agent_id, COMMANDS, call.now)
        return Answer(claims.poll(sign, _read(sign, lambda: call.params(PollQuery)).limit))


@route(
    blueprint, "POST", "/api/agents/{agent_id}/heartbeat", "agent", AGENTS_API, HEARTBEAT,
    body=Heartbeat, answer=Beaten, raises=(AgentTokenInvalid, AgentNotFound, OtherInstance),
)  # fmt: skip
def heartbeat(call: Call, agent_id: str) -> Answer:
    """Say that an agent is alive; the answer says what it is to stop."""
    with guard.titled_as_agents():
        caller = guard.agent(call, agent_id)
        sign = Sign(caller, agent_id, HEARTBEAT, call.now)
        return Answer(agents.heartbeat(sign, _read(sign, lambda: call.body(Heartbeat))))


def _read(sign: Sign, parse: Callable[[], R]) -> R:
    """What an agent sent. The write that does what it asks for also checks its token, counts the call and notes the
    sign of life; for what cannot be read there is no such write, so all this is done here."""
    try:
        return parse()
    except DevFlowError:
        if sign.caller.is_agent:
            sign.show()
        raise


@route(blueprint, "GET", "/api/stats", "user", TASKS_API, answer=Stats)
def get_stats(call: Call) -> Answer:
    """Say how much waits, for how long, and who is there to do it."""
    user = guard.user(call)
    return Answer(stats.show(user.owner, call.now))
