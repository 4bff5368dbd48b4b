"""Why a task waits: which property of the user's agents keeps it from being claimed. No I/O.

A reason is about the agents that were examined, and its message says so if there are more of them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from chalicelib.agents.entities import REMOVED, Agent, FleetSample
from chalicelib.agents.rules import rejection
from chalicelib.tasks.entities import Task

WaitingCode = Literal[
    "no_agent",
    "no_agent_with_intent",
    "no_online_agent_with_intent",
    "repo_not_admitted",
    "submitter_not_admitted",
    "paused",
    "draining",
    "busy",
    "pinned_agent_removed",
    "pinned_agent_lacks_intent",
    "pinned_agent_offline",
    "pinned_agent_repo_not_admitted",
    "pinned_agent_submitter_not_admitted",
    "pinned_agent_paused",
    "pinned_agent_draining",
    "pinned_agent_busy",
]

Obstacle = Literal["repo_not_admitted", "submitter_not_admitted", "draining", "paused", "busy"]
"""What keeps an online agent, which accepts the intent, from claiming a task."""

_NEAREST_FIRST: tuple[Obstacle, ...] = ("busy", "paused", "draining", "submitter_not_admitted", "repo_not_admitted")
"""The obstacles, in the order in which they are reported if agents have different ones: first what ends soonest."""

_UNPIN = "Or cancel the task, and submit it without agentId."
_PINNED_MESSAGES: dict[WaitingCode, str] = {
    "pinned_agent_removed": "was removed. Submit the task again without agentId.",
    "pinned_agent_lacks_intent": "does not accept the intent {intent}. Add it to the agent's capabilities. {unpin}",
    "pinned_agent_offline": "is offline. Start it: devflow agent start. {unpin}",
    "pinned_agent_repo_not_admitted": "does not admit the task's repository. Add it to the agent's repos. {unpin}",
    "pinned_agent_submitter_not_admitted": "does not admit user {user}. Add them to the agent's submitters. {unpin}",
    "pinned_agent_paused": "is paused. Resume it. {unpin}",
    "pinned_agent_draining": "finishes its last tasks and then stops. Start it again: devflow agent start. {unpin}",
    "pinned_agent_busy": "is busy. The task starts when the agent has a free slot.",
}
_PINNED_CODES: dict[Obstacle, WaitingCode] = {
    "repo_not_admitted": "pinned_agent_repo_not_admitted",
    "submitter_not_admitted": "pinned_agent_submitter_not_admitted",
    "draining": "pinned_agent_draining",
    "paused": "pinned_agent_paused",
    "busy": "pinned_agent_busy",
}

_MAX_NAMES = 3
"""How many agents a message names."""


class WaitingReason(NamedTuple):
    """Why a task waits, for programs (`code`) and for people (`message`, with what to do)."""

    code: WaitingCode
    message: str


def obstacle(task: Task, agent: Agent) -> Obstacle | None:
    """What keeps an online agent that accepts the intent from claiming the task. None if it claims at its next poll."""
    rejected = rejection(agent, task.repo or "", task.submitter)
    if rejected is not None:
        return rejected
    if agent.is_draining:
        return "draining"
    if agent.paused:
        return "paused"
    return "busy" if agent.is_full else None


def reason_of_fleet(task: Task, fleet: FleetSample) -> WaitingReason | None:
    """Why no agent has claimed a task that any agent may claim. None if an agent is about to claim it."""
    if not fleet.online:
        return _no_agent_online(task, fleet)
    obstacles = {agent.id: obstacle(task, agent) for agent in fleet.online}
    if None in obstacles.values():
        return None
    nearest = next(each for each in _NEAREST_FIRST if each in obstacles.values())
    names = _names([agent_id for agent_id, found in obstacles.items() if found == nearest])
    if fleet.has_more:
        none = f"None of the first {len(fleet.online)} online agents that accept the intent {task.intent}"
    else:
        none = f"No online agent that accepts the intent {task.intent}"
    match nearest:
        case "busy":
            text = (
                f"is free. Busy: {names}. The task starts when one has a free slot, or on another agent that you start."
            )
        case "paused":
            text = f"claims tasks now. Paused: {names}. Resume one, or start another agent."
        case "draining":
            text = f"claims tasks now. Finishing their last tasks: {names}. Start another agent."
        case "submitter_not_admitted":
            text = (
                f"may claim this task. Not admitting user {task.submitter}: {names}. Add the user to the submitters of "
                "one, or start another agent."
            )
        case "repo_not_admitted":
            text = (
                f"admits this task's repository: {names}. Add the repository to the repos of one, or start another "
                "agent."
            )
    return WaitingReason(nearest, f"{none} {text}")


def _no_agent_online(task: Task, fleet: FleetSample) -> WaitingReason:
    some = f"of the first {fleet.examined} agents" if fleet.has_more else "of your agents"
    if fleet.accepting:
        return WaitingReason(
            "no_online_agent_with_intent",
            f"None {some} that accept the intent {task.intent} is online: {_names(fleet.accepting)}. Start one: "
            "devflow agent start",
        )
    if fleet.examined:
        return WaitingReason(
            "no_agent_with_intent",
            f"None {some} accepts the intent {task.intent}. Add the intent to the capabilities of an agent, or "
            "register an agent that accepts it.",
        )
    return WaitingReason(
        "no_agent", "You have no agent. Register and start one: devflow agent register, then devflow agent start"
    )


def reason_of_pinned(task: Task, agent: Agent | None) -> WaitingReason | None:
    """Why the agent to which a task is pinned has not claimed it. None if it is about to claim it."""
    code = _pinned_code(task, agent)
    if code is None:
        return None
    name = f"The task is pinned to agent {task.pinned_agent_id}, which"
    return WaitingReason(
        code, f"{name} {_PINNED_MESSAGES[code].format(intent=task.intent, user=task.submitter, unpin=_UNPIN)}"
    )


def _pinned_code(task: Task, agent: Agent | None) -> WaitingCode | None:
    if agent is None or agent.state == REMOVED:
        return "pinned_agent_removed"
    if task.intent not in agent.capabilities:
        return "pinned_agent_lacks_intent"
    if agent.state == "inactive":
        return "pinned_agent_offline"
    found = obstacle(task, agent)
    return None if found is None else _PINNED_CODES[found]


def _names(agent_ids: Sequence[str]) -> str:
    more = len(agent_ids) - _MAX_NAMES
    return ", ".join(agent_ids[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
