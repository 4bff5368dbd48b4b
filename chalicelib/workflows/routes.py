"""What agents call that moves tasks: to be there, to get work, to say that they are alive, and to go."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from chalice.app import Blueprint
from pydantic import Field

from chalicelib.agents.holds import Sign
from chalicelib.agents.model import Heartbeat, Register
from chalicelib.auth import guard
from chalicelib.errors import DevFlowError
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS, HEARTBEAT, TASKS_API
from chalicelib.tasks import claims
from chalicelib.types import Request
from chalicelib.workflows import agents, stats

blueprint = Blueprint(__name__)
R = TypeVar("R", bound=Request)


class PollQuery(Request):
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@route(blueprint, "POST", "/api/agents")
def register_agent(call: Call) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(agents.register(user, call.body(Register), call.idempotency_key, call.now), 201)


@route(blueprint, "DELETE", "/api/agents/{agent_id}")
def remove_agent(call: Call, agent_id: str) -> Answer:
    user = guard.user(call, AGENTS_API)
    agents.remove(user.owner, agent_id, call.now)
    return Answer({"success": True, "agentId": agent_id})


@route(blueprint, "GET", "/api/agents/{agent_id}/commands")
def poll_commands(call: Call, agent_id: str) -> Answer:
    with guard.titled_as_agents():
        caller = guard.agent(call, agent_id, AGENTS_API)
        sign = Sign(caller, agent_id, COMMANDS, call.now)
        return Answer(claims.poll(sign, _read(sign, lambda: call.params(PollQuery)).limit))


@route(blueprint, "POST", "/api/agents/{agent_id}/heartbeat")
def heartbeat(call: Call, agent_id: str) -> Answer:
    with guard.titled_as_agents():
        caller = guard.agent(call, agent_id, AGENTS_API)
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


@route(blueprint, "GET", "/api/stats")
def get_stats(call: Call) -> Answer:
    user = guard.user(call, TASKS_API)
    return Answer(stats.show(user.owner, call.now))
