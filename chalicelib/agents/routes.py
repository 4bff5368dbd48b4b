"""/api/agents: register, list, read. Polling and heartbeats touch tasks, and stand with the workflows."""

from chalice.app import Blueprint

from chalicelib.agents import service
from chalicelib.agents.model import AgentQuery, Register
from chalicelib.auth import guard
from chalicelib.http import Answer, Call, idempotency_key, route
from chalicelib.ratelimit import AGENTS_API

blueprint = Blueprint(__name__)


@route(blueprint, "POST", "/api/agents")
def register_agent(call: Call) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.register(user, call.body(Register), idempotency_key(call), call.now), 201)


@route(blueprint, "GET", "/api/agents")
def list_agents(call: Call) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.list_agents(user, call.params(AgentQuery), call.now))


@route(blueprint, "GET", "/api/agents/{agent_id}")
def get_agent(call: Call, agent_id: str) -> Answer:
    user = guard.user(call, AGENTS_API)
    return Answer(service.show(user.owner, agent_id))
