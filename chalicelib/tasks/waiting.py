"""Why a task waits for an agent, for the response of GET /api/tasks/{id}."""

from chalicelib.agents import fleet
from chalicelib.agents import service as agents
from chalicelib.core.errors import Unavailable
from chalicelib.tasks import waiting_rules
from chalicelib.tasks.entities import Task
from chalicelib.tasks.waiting_rules import WaitingReason


def find_reason(task: Task) -> WaitingReason | None:
    """Why a task is not claimed. None if it does not wait, or if an agent is about to claim it.

    One request for a pinned task, and at most three for another one. None as well if the agents cannot be read now: the
    task is the response, and the reason is only a part of it.
    """
    if task.status not in ("pending", "queued"):
        return None
    try:
        if task.pinned_agent_id is not None:
            return waiting_rules.reason_of_pinned(task, agents.load_agent(task.owner, task.pinned_agent_id))
        return waiting_rules.reason_of_fleet(task, fleet.sample(task.owner, task.intent or ""))
    except Unavailable:
        return None
