"""/api/agents: the routes that manage agents, and the routes that agents call: poll and heartbeat.

The routes are here and not in `agents/`, because registering, removing, a poll and a heartbeat also change tasks.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

from chalice.app import Blueprint
from pydantic import Field

from chalicelib.agents import service as agents
from chalicelib.agents.liveness import CheckIn, NotActiveInstance, OtherInstance
from chalicelib.agents.registration import TooManyAgents
from chalicelib.agents.rules import DifferentRegistration
from chalicelib.agents.schemas import (
    AgentList,
    AgentQuery,
    AgentResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterAgentRequest,
    RegisterAgentResponse,
    RemoveAgentResponse,
    RenewTokenRequest,
    UpdateAgentRequest,
)
from chalicelib.auth import guard, registration_tokens
from chalicelib.auth import service as auth
from chalicelib.auth.registration_tokens import (
    RegistrationTokenNotFound,
    RegistrationTokenUsedUp,
    TooManyRegistrationTokens,
)
from chalicelib.auth.rules import IdempotencyKeyReused
from chalicelib.auth.schemas import (
    CreateRegistrationTokenRequest,
    CreateRegistrationTokenResponse,
    RegistrationTokenList,
    SuccessResponse,
)
from chalicelib.core.errors import AgentExists, AgentNotFound, AgentTokenInvalid, DevFlowError
from chalicelib.core.models import InputModel
from chalicelib.http import Request, Response, route
from chalicelib.http.pagination import ListQuery
from chalicelib.http.rate_limits import AGENTS_API, COMMANDS, HEARTBEAT
from chalicelib.orchestration import agent_lifecycle
from chalicelib.tasks import polling
from chalicelib.tasks.responses import PollResponse

blueprint = Blueprint(__name__)
R = TypeVar("R", bound=InputModel)


class PollQuery(InputModel):
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    """How many commands to return at most. Usually the number of free slots."""


@route(
    blueprint, "POST", "/api/agents", "registration", AGENTS_API,
    body=RegisterAgentRequest, idempotency_key=True, response=RegisterAgentResponse, status=201,
    raises=(AgentExists, TooManyAgents, DifferentRegistration, RegistrationTokenUsedUp),
)  # fmt: skip
def register_agent(request: Request) -> Response:
    """Register an agent. The response contains its token."""
    caller, permit = guard.registering_caller(request), None
    if caller.is_registration:
        user, permit = registration_tokens.admit(caller, request.source_ip, request.rate_limit, request.now)
    else:
        user = auth.admit(caller, request.rate_limit, request.now)
    body = request.body(RegisterAgentRequest)
    return Response(agent_lifecycle.register_agent(user, body, request.idempotency_key, request.now, permit))


@route(
    blueprint, "POST", "/api/agents/registration-tokens", "user", AGENTS_API,
    body=CreateRegistrationTokenRequest, idempotency_key=True, response=CreateRegistrationTokenResponse, status=201,
    raises=(IdempotencyKeyReused, TooManyRegistrationTokens),
)  # fmt: skip
def create_registration_token(request: Request) -> Response:
    """Create a registration token. No other response contains it."""
    user = guard.admitted_user(request)
    body = request.body(CreateRegistrationTokenRequest)
    return Response(registration_tokens.create_token(user, body, request.idempotency_key, request.now))


@route(
    blueprint, "GET", "/api/agents/registration-tokens", "user", AGENTS_API,
    query=ListQuery, response=RegistrationTokenList,
)  # fmt: skip
def list_registration_tokens(request: Request) -> Response:
    """List registration tokens, newest first."""
    user = guard.admitted_user(request)
    return Response(registration_tokens.list_tokens(user, request.query_params(ListQuery), request.now))


@route(
    blueprint, "DELETE", "/api/agents/registration-tokens/{registration_token_id}", "user", AGENTS_API,
    response=SuccessResponse, raises=(RegistrationTokenNotFound,),
)  # fmt: skip
def revoke_registration_token(request: Request, registration_token_id: str) -> Response:
    """Revoke a registration token. Agents that it has registered stay."""
    user = guard.admitted_user(request)
    registration_tokens.revoke_token(user, registration_token_id, request.now)
    return Response(SuccessResponse())


@route(blueprint, "GET", "/api/agents", "user", AGENTS_API, query=AgentQuery, response=AgentList)
def list_agents(request: Request) -> Response:
    """List your agents, by id."""
    user = guard.admitted_user(request)
    return Response(agents.list_agents(user, request.query_params(AgentQuery), request.now))


@route(blueprint, "GET", "/api/agents/{agent_id}", "user", AGENTS_API, response=AgentResponse, raises=(AgentNotFound,))
def get_agent(request: Request, agent_id: str) -> Response:
    """Read an agent."""
    user = guard.admitted_user(request)
    return Response(agents.get_agent(user.owner, agent_id))


@route(
    blueprint, "PATCH", "/api/agents/{agent_id}", "user", AGENTS_API,
    body=UpdateAgentRequest, response=AgentResponse, raises=(AgentNotFound,),
)  # fmt: skip
def patch_agent(request: Request, agent_id: str) -> Response:
    """Rename, pause or resume an agent."""
    user = guard.admitted_user(request)
    return Response(agents.update_agent(user.owner, agent_id, request.body(UpdateAgentRequest), request.now))


@route(
    blueprint,
    "DELETE",
    "/api/agents/{agent_id}",
    "user",
    AGENTS_API,
    response=RemoveAgentResponse,
    raises=(AgentNotFound,),
)
def remove_agent(request: Request, agent_id: str) -> Response:
    """Remove an agent and release its tasks."""
    user = guard.admitted_user(request)
    agent_lifecycle.remove_agent(user.owner, agent_id, request.now)
    return Response(RemoveAgentResponse(agent_id=agent_id))


@route(
    blueprint, "POST", "/api/agents/{agent_id}/token", "agent", AGENTS_API, COMMANDS,
    body=RenewTokenRequest, response=RegisterAgentResponse, status=201, raises=(AgentNotFound, NotActiveInstance),
)  # fmt: skip
def rotate_token(request: Request, agent_id: str) -> Response:
    """Replace an agent's token."""
    caller = guard.agent_caller(request, agent_id)
    check_in = CheckIn(caller, agent_id, COMMANDS, request.now)
    body = _parse_or_check_in(check_in, lambda: request.body(RenewTokenRequest))
    if caller.is_agent:
        return Response(agents.renew_token(check_in, body.instance_id))
    return Response(agents.rotate_token(caller.owner, agent_id, request.now))


@route(
    blueprint, "GET", "/api/agents/{agent_id}/commands", "agent", AGENTS_API, COMMANDS,
    query=PollQuery, response=PollResponse, raises=(AgentTokenInvalid, AgentNotFound),
)  # fmt: skip
def poll_commands(request: Request, agent_id: str) -> Response:
    """Claim tasks for an agent, and renew its claims."""
    with guard.agent_error_titles():
        caller = guard.agent_caller(request, agent_id)
        check_in = CheckIn(caller, agent_id, COMMANDS, request.now)
        return Response(
            polling.poll(check_in, _parse_or_check_in(check_in, lambda: request.query_params(PollQuery)).limit)
        )


@route(
    blueprint, "POST", "/api/agents/{agent_id}/heartbeat", "agent", AGENTS_API, HEARTBEAT,
    body=HeartbeatRequest, response=HeartbeatResponse, raises=(AgentTokenInvalid, AgentNotFound, OtherInstance),
)  # fmt: skip
def heartbeat(request: Request, agent_id: str) -> Response:
    """Report that an agent is alive. The response names the tasks to stop."""
    with guard.agent_error_titles():
        caller = guard.agent_caller(request, agent_id)
        check_in = CheckIn(caller, agent_id, HEARTBEAT, request.now)
        return Response(
            agent_lifecycle.handle_heartbeat(
                check_in, _parse_or_check_in(check_in, lambda: request.body(HeartbeatRequest))
            )
        )


def _parse_or_check_in(check_in: CheckIn, parse: Callable[[], R]) -> R:
    """Parse a request of an agent, and save the check-in where it is not valid.

    For a valid request, the write that performs it also checks the agent's token, counts the call and records when the
    agent was last seen. An invalid request causes no such write, so this function saves the check-in alone. Raises the
    error of `parse`, or an error of `CheckIn.save`, which takes precedence.
    """
    try:
        return parse()
    except DevFlowError:
        if check_in.caller.is_agent:
            check_in.save()
        raise
