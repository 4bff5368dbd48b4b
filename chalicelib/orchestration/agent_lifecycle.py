"""Changes of agents that also change tasks: registration, heartbeats, silence and removal."""

from collections.abc import Callable

from chalicelib.agents import registration, schemas
from chalicelib.agents import service as agents
from chalicelib.agents.entities import REMOVED, Agent
from chalicelib.agents.liveness import CheckIn
from chalicelib.agents.schemas import HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse
from chalicelib.auth.entities import RegistrationToken, User
from chalicelib.core.errors import AgentExists, AgentNotFound, Unavailable
from chalicelib.core.settings import MINUTE
from chalicelib.tasks import lifecycle

INDEX_CONSISTENT_AFTER = MINUTE
"""How long after a task was pinned to an agent the index of pinned tasks certainly contains it."""

REGISTERED_AGAIN = "The agent was registered again"
NO_REPLACEMENT = (
    "An agent with this agentId exists, and a registration token cannot replace it. Use another agentId, or a user's"
    " token with replace: true."
)


class RemovalUnfinished(Unavailable):
    """An agent with this agentId was removed, and its tasks are still being released. Send the request again soon."""


def register_agent(
    user: User,
    request: RegisterAgentRequest,
    idempotency_key: str | None,
    now: int,
    permit: RegistrationToken | None = None,
) -> RegisterAgentResponse:
    """Register an agent, or with `replace` register an existing one again. Tasks that it ran count as lost.

    `permit` is the registration token of the request. It replaces no agent: with a token that leaked, somebody could
    otherwise take the agents' places. Raises AgentExists, and the errors of `registration.register_agent`.
    """
    try:
        agent = registration.register_agent(user, request, idempotency_key, now, permit)
    except AgentExists:
        existing = agents.load_agent(user.owner, request.agent_id)
        if existing is not None and existing.state == REMOVED and permit is not None:
            finish_removal(existing, now)
            raise RemovalUnfinished from None
        if permit is not None:
            raise AgentExists(NO_REPLACEMENT) from None
        if existing is None or (existing.state != REMOVED and not request.replace):
            raise
    else:
        # The request may be a retry of one that was interrupted. Then claims from before the registration are still to
        # be released.
        old_claims = {task_id: claim for task_id, claim in agent.claims.items() if claim.claimed_at < agent.created_at}
        _release_all(agent.model_copy(update={"claims": old_claims}), REGISTERED_AGAIN, now)
        return agents.to_register_response(agent, now)
    if existing.state == REMOVED and not release_from_removed_agent(existing, now):
        raise RemovalUnfinished
    try:
        agent = registration.replace_agent(existing, request, idempotency_key, now)
    except AgentNotFound:  # it was removed meanwhile
        return register_agent(user, request, idempotency_key, now)
    _release_all(agent, REGISTERED_AGAIN, now)
    return agents.to_register_response(agent.model_copy(update={"claims": {}}), now)


def handle_heartbeat(check_in: CheckIn, request: HeartbeatRequest) -> HeartbeatResponse:
    """Record a heartbeat, and return the tasks to cancel. Tasks that the agent no longer runs are lost.

    One request to DynamoDB, unless the agent lost tasks or disconnects.
    """
    agent = agents.record_heartbeat(check_in, request)
    reason = "The agent restarted" if agent.has_restarted() else "The agent no longer runs the task"
    for task_id in agent.missing_tasks():
        lifecycle.lose_running(agent.owner, task_id, agent.id, reason, check_in.now)
    if request.status == "disconnected":
        _release_claims(agent, "The agent disconnected before it started the task", check_in.now)
    return schemas.to_heartbeat_response(agent, check_in.now)


def release_from_silent_agent(agent: Agent, verdict: str, now: int) -> None:
    """Return the agent's claims to the queue. Where the verdict is "lost", the tasks that it ran are lost too."""
    reason = "The agent stopped responding"
    if verdict == "lost":
        _release_all(agent, reason, now)
    else:
        _release_claims(agent, reason, now)


def remove_agent(owner: str, agent_id: str, now: int) -> None:
    """Remove an agent: revoke its token immediately, release its claims, and treat the tasks that it ran as lost.

    Raises AgentNotFound. The row stays in the sweep's index as a tombstone, so the sweep finishes a removal that was
    interrupted, or that is too large for one request.
    """
    try:
        agent = agents.mark_removed(owner, agent_id, now)
    except AgentNotFound:
        existing = agents.load_agent(owner, agent_id)
        if existing is None or existing.state != REMOVED:
            raise
        agent = existing
    finish_removal(agent, now)


def release_from_removed_agent(agent: Agent, now: int) -> bool:
    """Release the tasks that a removed agent claimed or ran, and fail tasks that are pinned to it.

    Returns False if more tasks are pinned to it than one call fails.
    """
    for task_id in agent.claims:
        lifecycle.release_from_removed_agent(agent.owner, task_id, agent.id, now)
    return lifecycle.fail_pinned(agent.owner, agent.id, now)


def finish_removal(agent: Agent, now: int) -> bool:
    """Release a removed agent's tasks, publish its remaining events, and delete its row.

    The work of one call is bounded. Returns False if the removal needs another call at once.
    """
    if not release_from_removed_agent(agent, now):
        return False
    if agent.status_events:
        from chalicelib.orchestration import event_publisher  # noqa: PLC0415  # imports webhooks, which few agent requests need

        event_publisher.publish_agent_events(agent.owner, agent.id, now)
    if agent.pinned_at is None or now - agent.pinned_at >= INDEX_CONSISTENT_AFTER:
        agents.delete_tombstone(agent)
    return True


def _release_claims(agent: Agent, reason: str, now: int) -> None:
    unstarted = [task_id for task_id, claim in agent.claims.items() if claim.started_at is None]
    _for_each(unstarted, lambda task_id: lifecycle.release_claim(agent.owner, task_id, agent.id, reason, now))


def _release_all(agent: Agent, reason: str, now: int) -> None:
    _release_claims(agent, reason, now)
    running = [task_id for task_id, claim in agent.claims.items() if claim.started_at is not None]
    _for_each(running, lambda task_id: lifecycle.lose_running(agent.owner, task_id, agent.id, reason, now))


def _for_each(task_ids: list[str], process: Callable[[str], None]) -> None:
    """Process every task, also after an error with one of them. Raises the last error."""
    failure: Exception | None = None
    for task_id in task_ids:
        try:
            process(task_id)
        except Exception as error:  # noqa: BLE001  # an error with one task does not block the others
            failure = error
    if failure is not None:
        raise failure
