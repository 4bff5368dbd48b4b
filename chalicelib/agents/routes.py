"""/api/agents: what touches agents alone. Registering, removing, polling and heartbeats touch tasks too, and stand
with the workflows."""

from chalice.app import Blueprint

from chalicelib.agents import service
from chalicelib.agents.holds import Sign
from chalicelib.agents.model import AgentQuery, Patch
from chalicelib.auth import guard
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS

blueprint = Blueprint(__name__)


@route(blueprint, "GET", "/api/agents")
def list_agents(call: Call) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.list_agents(user, call.params(AgentQuery), call.now))


@route(blueprint, "GET", "/api/agents/{agent_id}")
def get_agent(call: Call, agent_id: str) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.show(user.owner, agent_id))


@route(blueprint, "PATCH", "/api/agents/{agent_id}")
def patch_agent(call: Call, agent_id: str) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.patch(user.owner, agent_id, call.body(Patch), call.now))


@route(blueprint, "POST", "/api/agents/{agent_id}/token")
def rotate_token(call: Call, agent_id: str) -> Answer:
    caller = guard.agent(call, agent_id, AGENTS_API)
    if caller.is_agent:
        return Answer(service.renew(Sign(caller, agent_id, COMMANDS, call.now)), 201)
    return Answer(service.rotate(caller.owner, agent_id, call.now), 201)
