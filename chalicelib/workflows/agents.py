"""What agents do that moves tasks: they come anew, say what they run, fall silent and go."""

from collections.abc import Callable

from chalicelib.agents import service as agents
from chalicelib.agents import shapes
from chalicelib.agents.agent import REMOVED, Agent
from chalicelib.agents.holds import Sign
from chalicelib.agents.shapes import Beaten, Heartbeat, Register, Registered
from chalicelib.auth.model import User
from chalicelib.errors import AgentExists, AgentNotFound
from chalicelib.settings import MINUTE
from chalicelib.tasks import upkeep

SETTLED_AFTER = MINUTE
"""So long after a task was announced to an agent, its queue surely shows it."""


def register(user: User, request: Register, idempotency_key: str | None, now: int) -> Registered:
    """A new agent, or with `replace` one that is there, anew: what it ran counts as lost. Raises AgentExists."""
    try:
        agent = agents.register(user, request, idempotency_key, now)
    except AgentExists:
        standing = agents.load(user.owner, request.agent_id)
        if standing is None or (standing.state != REMOVED and not request.replace):
            raise
    else:
        # Sent again after it was cut short: what it held when it was registered anew has still to be let go.
        before = {task: hold for task, hold in agent.held.items() if hold.claimed_at < agent.created_at}
        _release_all(agent.model_copy(update={"held": before}), "The agent was registered anew", now)
        return agents.registered(agent, now)
    if standing.state == REMOVED:  # removing it has not ended yet: end it, but for the row, which is taken over
        let_go(standing, now)
    try:
        agent = agents.take_over(standing, request, idempotency_key, now)
    except AgentNotFound:  # it went just now
        return register(user, request, idempotency_key, now)
    _release_all(agent, "The agent was registered anew", now)
    return agents.registered(agent.model_copy(update={"held": {}}), now)


def heartbeat(sign: Sign, said: Heartbeat) -> Beaten:
    """One request, unless the agent lost something or goes away."""
    agent = agents.heartbeat(sign, said)
    for task in agent.unaccounted():
        upkeep.lose(agent.owner, task, agent.id, "The agent no longer runs it", sign.now)
    if said.status == "disconnected":
        _release_claims(agent, "The agent disconnected before it started the task", sign.now)
    return shapes.beaten(agent, sign.now)


def fell_silent(agent: Agent, verdict: str, now: int) -> None:
    """Its unstarted claims go back to the queue; when it is lost, so does what it ran."""
    reason = "The agent fell silent"
    if verdict == "lost":
        _release_all(agent, reason, now)
    else:
        _release_claims(agent, reason, now)


def remove(owner: str, agent_id: str, now: int) -> None:
    """Its token is dead at once, its claims are released, and what it ran is handled as for a lost agent.

    Raises AgentNotFound. Interrupted anywhere, the sweep ends it: the row stays in its index as a tombstone.
    """
    try:
        agent = agents.mark_removed(owner, agent_id, now)
    except AgentNotFound:
        standing = agents.load(owner, agent_id)
        if standing is None or standing.state != REMOVED:
            raise
        agent = standing
    clear(agent, now)


def let_go(agent: Agent, now: int) -> None:
    """Let go of all that a removed agent holds or was to have."""
    for task in agent.held:
        upkeep.depart(agent.owner, task, agent.id, now)
    upkeep.fail_pinned(agent.owner, agent.id, now)


def clear(agent: Agent, now: int) -> None:
    """The same, and then its row goes; what is still to be told of it is told before."""
    let_go(agent, now)
    if agent.news:
        from chalicelib.workflows import telling  # noqa: PLC0415  # webhooks: seldom needed where agents are heard

        telling.tell_of_agent(agent.owner, agent.id, now)
    if agent.pinned_at is None or now - agent.pinned_at >= SETTLED_AFTER:
        agents.forget(agent)


def _release_claims(agent: Agent, reason: str, now: int) -> None:
    claims = [task for task, hold in agent.held.items() if hold.started_at is None]
    _each(claims, lambda task: upkeep.release(agent.owner, task, agent.id, reason, now))


def _release_all(agent: Agent, reason: str, now: int) -> None:
    _release_claims(agent, reason, now)
    runs = [task for task, hold in agent.held.items() if hold.started_at is not None]
    _each(runs, lambda task: upkeep.lose(agent.owner, task, agent.id, reason, now))


def _each(tasks: list[str], act: Callable[[str], None]) -> None:
    """Do it for every task, whatever goes wrong with one; raises the last of what did."""
    failure: Exception | None = None
    for task in tasks:
        try:
            act(task)
        except Exception as error:  # noqa: BLE001  # one that fails does not keep the others
            failure = error
    if failure is not None:
        raise failure
