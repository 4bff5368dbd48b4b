"""What agents do that moves tasks: they come anew, say what they run, fall silent and go."""

from collections.abc import Callable

from chalicelib.agents import schemas
from chalicelib.agents import service as agents
from chalicelib.agents.entities import REMOVED, Agent
from chalicelib.agents.liveness import CheckIn
from chalicelib.agents.schemas import HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse
from chalicelib.auth.entities import User
from chalicelib.core.errors import AgentExists, AgentNotFound
from chalicelib.core.settings import MINUTE
from chalicelib.tasks import lifecycle

INDEX_SETTLED_AFTER = MINUTE
"""So long after a task was announced to an agent, its queue surely shows it."""


def register_agent(
    user: User, request: RegisterAgentRequest, idempotency_key: str | None, now: int
) -> RegisterAgentResponse:
    """A new agent, or with `replace` one that is there, anew: what it ran counts as lost. Raises AgentExists."""
    try:
        agent = agents.register_agent(user, request, idempotency_key, now)
    except AgentExists:
        existing = agents.load_agent(user.owner, request.agent_id)
        if existing is None or (existing.state != REMOVED and not request.replace):
            raise
    else:
        # Sent again after it was cut short: what it held when it was registered anew has still to be let go.
        before = {task_id: hold for task_id, hold in agent.claims.items() if hold.claimed_at < agent.created_at}
        _release_everything(agent.model_copy(update={"claims": before}), "The agent was registered anew", now)
        return agents.to_register_response(agent, now)
    if existing.state == REMOVED:  # removing it has not ended yet: end it, but for the row, which is taken over
        release_from_removed_agent(existing, now)
    try:
        agent = agents.replace_agent(existing, request, idempotency_key, now)
    except AgentNotFound:  # it went just now
        return register_agent(user, request, idempotency_key, now)
    _release_everything(agent, "The agent was registered anew", now)
    return agents.to_register_response(agent.model_copy(update={"claims": {}}), now)


def handle_heartbeat(check_in: CheckIn, request: HeartbeatRequest) -> HeartbeatResponse:
    """One request, unless the agent lost something or goes away."""
    agent = agents.record_heartbeat(check_in, request)
    for task_id in agent.missing_tasks():
        lifecycle.lose_running(agent.owner, task_id, agent.id, "The agent no longer runs it", check_in.now)
    if request.status == "disconnected":
        _release_claims(agent, "The agent disconnected before it started the task", check_in.now)
    return schemas.to_heartbeat_response(agent, check_in.now)


def release_from_silent_agent(agent: Agent, verdict: str, now: int) -> None:
    """Its unstarted claims go back to the queue; when it is lost, so does what it ran."""
    reason = "The agent fell silent"
    if verdict == "lost":
        _release_everything(agent, reason, now)
    else:
        _release_claims(agent, reason, now)


def remove_agent(owner: str, agent_id: str, now: int) -> None:
    """Its token is dead at once, its claims are released, and what it ran is handled as for a lost agent.

    Raises AgentNotFound. Interrupted anywhere, the sweep ends it: the row stays in its index as a tombstone.
    """
    try:
        agent = agents.mark_removed(owner, agent_id, now)
    except AgentNotFound:
        existing = agents.load_agent(owner, agent_id)
        if existing is None or existing.state != REMOVED:
            raise
        agent = existing
    finish_removal(agent, now)


def release_from_removed_agent(agent: Agent, now: int) -> None:
    """Let go of all that a removed agent holds or was to have."""
    for task_id in agent.claims:
        lifecycle.release_from_removed_agent(agent.owner, task_id, agent.id, now)
    lifecycle.fail_pinned(agent.owner, agent.id, now)


def finish_removal(agent: Agent, now: int) -> None:
    """The same, and then its row goes; what is still to be told of it is told before."""
    release_from_removed_agent(agent, now)
    if agent.status_events:
        from chalicelib.orchestration import event_publisher  # noqa: PLC0415  # webhooks: seldom needed where agents are heard

        event_publisher.publish_agent_events(agent.owner, agent.id, now)
    if agent.pinned_at is None or now - agent.pinned_at >= INDEX_SETTLED_AFTER:
        agents.delete_tombstone(agent)


def _release_claims(agent: Agent, reason: str, now: int) -> None:
    claims = [task_id for task_id, hold in agent.claims.items() if hold.started_at is None]
    _for_each(claims, lambda task: lifecycle.release_claim(agent.owner, task, agent.id, reason, now))


def _release_everything(agent: Agent, reason: str, now: int) -> None:
    _release_claims(agent, reason, now)
    runs = [task_id for task_id, hold in agent.claims.items() if hold.started_at is not None]
    _for_each(runs, lambda task: lifecycle.lose_running(agent.owner, task, agent.id, reason, now))


def _for_each(tasks: list[str], act: Callable[[str], None]) -> None:
    """Do it for every task, whatever goes wrong with one; raises the last of what did."""
    failure: Exception | None = None
    for task_id in tasks:
        try:
            act(task_id)
        except Exception as error:  # noqa: BLE001  # one that fails does not keep the others
            failure = error
    if failure is not None:
        raise failure
