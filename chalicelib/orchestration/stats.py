"""GET /api/stats: how much waits, for how long, and who is there to do it."""

from chalicelib.agents import service as agents
from chalicelib.agents.entities import AgentState
from chalicelib.core.models import OutputModel
from chalicelib.tasks import service as tasks
from chalicelib.tasks.entities import TaskStatus


class StatsResponse(OutputModel):
    """Counts are exact up to 1,000 and stop there."""

    queue_depth: int
    oldest_queued_seconds: int | None
    """None where nothing waits."""
    tasks: dict[TaskStatus, int]
    agents: dict[AgentState, int]


def get_stats(owner: str, now: int) -> StatsResponse:
    by_status = tasks.count_by_status(owner)
    oldest = tasks.oldest_queued(owner)
    return StatsResponse(
        queue_depth=by_status["queued"],
        oldest_queued_seconds=None if oldest is None else max(0, now - oldest) // 1_000,
        tasks=by_status,
        agents=agents.count_by_state(owner),
    )
