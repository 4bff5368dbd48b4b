"""GET /api/stats: how much waits, for how long, and who is there to do it."""

from typing import Any

from chalicelib.agents import service as agents
from chalicelib.tasks import service as tasks


def show(owner: str, now: int) -> dict[str, Any]:
    """Counts are exact up to 1,000 and stop there. `oldestQueuedSeconds` is None where nothing waits."""
    by_status = tasks.count_by_status(owner)
    oldest = tasks.oldest_queued(owner)
    return {
        "queueDepth": by_status["queued"],
        "oldestQueuedSeconds": None if oldest is None else max(0, now - oldest) // 1_000,
        "tasks": by_status,
        "agents": agents.count_by_state(owner),
    }
