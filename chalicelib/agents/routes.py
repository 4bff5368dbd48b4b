"""/api/agents: what touches agents alone. Registering, removing, polling and heartbeats touch tasks too, and stand
with the workflows."""

from chalice.app import Blueprint

from chalicelib.agents import service
from chalicelib.agents.holds import Sign
from chalicelib.agents.shapes import AgentListing, AgentQuery, AgentReply, Patch, Registered
from chalicelib.auth import guard
from chalicelib.errors import AgentNotFound
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import AGENTS_API, COMMANDS

blueprint = Blueprint(__name__)


@route(blueprint, "GET", "/api/agents", "user", AGENTS_API, query=AgentQuery, answer=AgentListing)
def list_agents(call: Call) -> Answer:
    """List your agents, by id."""
    user = guard.user(call)
    return Answer(service.list_agents(user, call.params(AgentQuery), call.now))


@route(blueprint, "GET", "/api/agents/{agent_id}", "user", AGENTS_API, answer=AgentReply, raises=(AgentNotFound,))
def get_agent(call: Call, agent_id: str) -> Answer:
    """Read an agent."""
    user = guard.user(call)
    return Answer(service.show(user.owner, agent_id))


@route(
    blueprint, "PATCH", "/api/agents/{agent_id}", "user", AGENTS_API,
    body=Patch, answer=AgentReply, raises=(AgentNotFound,),
)  # fmt: skip
def patch_agent(call: Call, agent_id: str) -> Answer:
    """Rename an agent, pause it, or resume it."""
    user = guard.user(call)
    return Answer(service.patch(user.owner, agent_id, call.body(Patch), call.now))


@route(
    blueprint, "POST", "/api/agents/{agent_id}/token", "agent", AGENTS_API, COMMANDS,
    answer=Registered, status=201, raises=(AgentNotFound,),
)  # fmt: skip
def rotate_token(call: Call, agent_id: str) -> Answer:
    """Replace an agent's token."""
    caller = guard.agent(call, agent_id)
    if caller.is_agent:
        return Answer(service.renew(Sign(caller, agent_id, COMMANDS, call.now)))
    return Answer(service.rotate(caller.owner, agent_id, call.now))
