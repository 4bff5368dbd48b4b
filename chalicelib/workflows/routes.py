"""What agents call that moves tasks: to be there, to get work, to say that they are alive, and to go."""

from typing import Annotated

from chalice.app import Blueprint
from pydantic import Field

from chalicelib.agents.holds import Sign
from chalicelib.agents.model import Heartbeat, Register
from chalicelib.auth import guard
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS, HEARTBEAT, TASKS_API
from chalicelib.tasks import claims
from chalicelib.types import Request
from chalicelib.workflows import agents, stats

blueprint = Blueprint(__name__)


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
        limit = call.params(PollQuery).limit
        return Answer(claims.poll(Sign(caller, agent_id, COMMANDS, call.now), limit))


@route(blueprint, "POST", "/api/agents/{agent_id}/heartbeat")
def heartbeat(call: Call, agent_id: str) -> Answer:
    with guard.titled_as_agents():
        caller = guard.agent(call, agent_id, AGENTS_API)
        said = call.body(Heartbeat)
        return Answer(agents.heartbeat(Sign(caller, agent_id, HEARTBEAT, call.now), said))


@route(blueprint, "GET", "/api/stats")
def get_stats(call: Call) -> Answer:
    user = guard.user(call, TASKS_API)
    return Answer(stats.show(user.owner, call.now))
