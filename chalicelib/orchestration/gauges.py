"""What there is, of all users together: noted by the scheduled function with each run.

There is no counter to keep (each change of a task would have to write it, all to the same few items) and no table to
scan. The sweep's own indexes hold every open task and every agent that was heard of lately, so a first page of each of
their shards tells what an operator wants to know: exactly while there is little, and when there is much, that there is.
A page is no more than what half a read unit reads, which is what a query for nothing costs, too: so a run costs the
same however much there is.
"""

from collections import Counter

from chalicelib.agents import service as agents
from chalicelib.core import metrics
from chalicelib.core.settings import SECOND
from chalicelib.tasks import lifecycle

MAX_ROWS_PER_SHARD = 25
"""So many rows of a shard are looked at, 4 KB at the most: with four shards a depth of some 100 is exact."""

_METRIC_BY_STATE = {"active": "AgentsActive", "inactive": "AgentsInactive", "error": "AgentsError"}


def record_gauges(shards: int, now: int) -> bool:
    """Tasks that wait, for how long the first of them does, and agents by state. What there is none of is not noted.

    An inactive agent counts for as long as it holds what it ran: the sweep is done with one that holds nothing.
    """
    waiting = [since for shard in range(shards) for since in lifecycle.queued_since(shard, now, MAX_ROWS_PER_SHARD)]
    if waiting:
        metrics.record("QueueDepth", len(waiting))
        metrics.record("OldestQueued", max(0, now - min(waiting)) // SECOND)
    states = Counter(state for shard in range(shards) for state in agents.sample_states(shard, MAX_ROWS_PER_SHARD))
    for state, metric in _METRIC_BY_STATE.items():
        if states[state]:
            metrics.record(metric, states[state])
    return True
