"""GET /api/stats: how much waits, for how long, and who is there to do it."""

from chalicelib.agents import service as agents
from chalicelib.agents.agent import State
from chalicelib.tasks import service as tasks
from chalicelib.tasks.task import Status
from chalicelib.types import Reply


class Stats(Reply):
    """Counts are exact up to 1,000 and stop there."""

    queue_depth: int
    oldest_queued_seconds: int | None
    """None where nothing waits."""
    tasks: dict[Status, int]
    agents: dict[State, int]


def show(owner: str, now: int) -> Stats:
    by_status = tasks.count_by_status(owner)
    oldest = tasks.oldest_queued(owner)
    return Stats(
        queue_depth=by_status["queued"],
        oldest_queued_seconds=None if oldest is None else max(0, now - oldest) // 1_000,
        tasks=by_status,
        agents=agents.count_by_state(owner),
    )
