"""The metrics of the queue count tasks that wait, and no others."""

import io
import json

import pytest

from chalicelib.core import log as log_module
from tests.http.scenario import Scenario


def test_running_task_with_a_long_timeout_is_not_counted_as_queued(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline is as far away as that of a task that waits, so both are in the same part of the index."""
    scenario.start_task(scenario.agent(), "running", timeoutSeconds=86_400)
    stream = io.StringIO()
    monkeypatch.setattr(log_module.handler, "stream", stream)

    scenario.poller.sweep()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line for line in lines if "AgentsActive" in line], "the sweep has recorded its metrics"
    assert [line for line in lines if "QueueDepth" in line or "OldestQueued" in line] == []

    scenario.queue_tasks("waits")
    scenario.poller.sweep()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["QueueDepth"] for line in lines if "QueueDepth" in line] == [1]
