"""What agents call to get work and to say that they are alive."""

from typing import Annotated

from chalice.app import Blueprint
from pydantic import Field

from chalicelib.agents import service as agents
from chalicelib.agents.holds import Sign
from chalicelib.agents.model import Heartbeat
from chalicelib.auth import guard
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS, HEARTBEAT, Meter
from chalicelib.tasks import claims
from chalicelib.types import Request

blueprint = Blueprint(__name__)


class PollQuery(Request):
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@route(blueprint, "GET", "/api/agents/{agent_id}/commands")
def poll_commands(call: Call, agent_id: str) -> Answer:
    sign = _sign(call, agent_id, COMMANDS)
    return Answer(claims.poll(sign, call.params(PollQuery).limit))


@route(blueprint, "POST", "/api/agents/{agent_id}/heartbeat")
def heartbeat(call: Call, agent_id: str) -> Answer:
    sign = _sign(call, agent_id, HEARTBEAT)
    return Answer(agents.heartbeat(sign, call.body(Heartbeat)))


def _sign(call: Call, agent_id: str, meter: Meter) -> Sign:
    """The agent's own sign of life, or one in its name with its user's token; other agents do not exist for it."""
    caller: Caller = guard.agent(call, AGENTS_API)
    if caller.is_agent and caller.subject != agent_id:
        raise AgentNotFound
    return Sign(caller, agent_id, meter, call.now)
