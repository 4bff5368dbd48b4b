"""Gauges of the whole stage: the depth and age of the queue, and the agents by state. Each sweep records them.

There are no counters, because every change of a task would have to write to the same few items. No table is scanned
either. The sweep's indexes contain every open task and every agent that was seen recently, so the first page of each
shard is enough: it gives exact numbers while they are small, and shows that they are large when they are.

A page is limited to what half a read unit reads, which is also the cost of an empty query. So a run costs the same for
any number of tasks and agents.
"""

from collections import Counter

from chalicelib.agents import service as agents
from chalicelib.core import metrics
from chalicelib.core.settings import SECOND
from chalicelib.tasks import lifecycle

MAX_ROWS_PER_SHARD = 25
"""How many rows of a shard are read, at most 4 KB. With four shards, a queue depth of up to about 100 is exact."""

_METRIC_BY_STATE = {"active": "AgentsActive", "inactive": "AgentsInactive", "error": "AgentsError"}


def record_gauges(shards: int, now: int) -> None:
    """Record the number of queued tasks, the age of the oldest in seconds, and the number of agents by state.

    Metrics with a value of zero are not emitted. An inactive agent counts only while it still has running tasks: the
    sweep does not check an inactive agent without tasks.
    """
    waiting = [since for shard in range(shards) for since in lifecycle.queued_since(shard, now, MAX_ROWS_PER_SHARD)]
    if waiting:
        metrics.record("QueueDepth", len(waiting))
        metrics.record("OldestQueued", max(0, now - min(waiting)) // SECOND)
    states = Counter(state for shard in range(shards) for state in agents.sample_states(shard, MAX_ROWS_PER_SHARD))
    for state, metric in _METRIC_BY_STATE.items():
        if states[state]:
            metrics.record(metric, states[state])
