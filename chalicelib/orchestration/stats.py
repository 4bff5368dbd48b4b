"""GET /api/stats: the depth and age of a user's queue, and the user's tasks and agents by status."""

from chalicelib.agents import service as agents
from chalicelib.agents.entities import AgentState
from chalicelib.core.models import OutputModel
from chalicelib.tasks import service as tasks
from chalicelib.tasks.entities import TaskStatus


class StatsResponse(OutputModel):
    """Counts are exact up to 1,000 and do not exceed it."""

    queue_depth: int
    """How many tasks are `queued`."""
    oldest_queued_seconds: int | None
    """How long ago the oldest queued task was submitted; `null` if no task is queued."""
    tasks: dict[TaskStatus, int]
    """How many tasks are in each status, each exact up to 1000."""
    agents: dict[AgentState, int]
    """How many agents are in each status."""


def get_stats(owner: str, now: int) -> StatsResponse:
    """Count a user's tasks and agents."""
    by_status = tasks.count_by_status(owner)
    oldest = tasks.oldest_queued(owner)
    return StatsResponse(
        queue_depth=by_status["queued"],
        oldest_queued_seconds=None if oldest is None else max(0, now - oldest) // 1_000,
        tasks=by_status,
        agents=agents.count_by_state(owner),
    )
