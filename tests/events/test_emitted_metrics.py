"""The metrics that the functions emit to CloudWatch, each with the event that causes it."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core import log as log_module
from chalicelib.core import metrics
from chalicelib.core.settings import settings
from chalicelib.orchestration import gauges
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Scenario
from tests.http.webhook_helpers import WebhookQueue, create_webhook
from tests.service import faults
from tests.service.conftest import PassMinutes
from tests.support import moto_aws
from tests.support.webhook_receiver import Receiver, status

EmittedMetrics = Callable[[], dict[str, list[float]]]


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> EmittedMetrics:
    """A function that returns the values of each metric since its last call, as CloudWatch reads them from the log."""
    stream = io.StringIO()
    monkeypatch.setattr(log_module.handler, "stream", stream)

    def read() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for line in stream.getvalue().splitlines():
            for name, value in _values(json.loads(line)):
                found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        stream.seek(0)
        stream.truncate()
        return found

    return read


def _values(line: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
        assert directive["Namespace"] == metrics.NAMESPACE
        assert directive["Dimensions"] == [["Stage"]]
        assert "Stage" in line
        for metric in directive["Metrics"]:
            assert metric["Unit"] == metrics.UNITS[metric["Name"]]
            yield metric["Name"], line[metric["Name"]]


def test_request_emits_its_count_and_latency(scenario: Scenario, emitted: EmittedMetrics) -> None:
    scenario.user.get("/api/tasks")
    scenario.user.get("/nowhere")
    values = emitted()
    assert values["Requests"] == [1, 1]
    assert len(values["Latency"]) == 2
    assert set(values) == {"Requests", "Latency"}


def test_rate_limited_request_is_counted(scenario: Scenario, emitted: EmittedMetrics, clock: Clock) -> None:
    agent = scenario.agent()
    emitted()
    clock.advance(60.5 - clock.now / 1_000 % 60)  # to the beginning of a minute
    for _ in range(12):
        agent.heartbeat()
    assert emitted()["RateLimited"] == [1, 1]


def test_claim_emits_the_dispatch_latency_of_its_task(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock
) -> None:
    agent = scenario.agent()
    scenario.queue_tasks("task-1")
    clock.advance(20)
    scenario.queue_tasks("task-2")
    clock.advance(5)
    emitted()
    agent.poll()
    values = emitted()
    assert values["Claims"] == [2]
    first, second = values["DispatchLatency"]
    assert first - second >= 20_000
    assert second >= 5_000
    agent.poll()
    assert "Claims" not in emitted(), "a renewal is not a new claim"


def test_sweep_emits_queue_depth_and_agent_counts(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    poller.sweep()
    assert emitted() == {}, "an idle stage emits nothing that costs money"
    for name in ("agent-1", "agent-2", "agent-3"):
        scenario.agent(name)
    scenario.user.post("/api/agents/agent-3/heartbeat", {"status": "error"})
    scenario.queue_tasks("task-1")
    clock.advance(60)
    scenario.queue_tasks("task-2")
    emitted()
    poller.sweep()
    values = emitted()
    assert values["QueueDepth"] == [2]
    assert 60 <= values["OldestQueued"][0] < 600
    assert (values["AgentsActive"], values["AgentsError"]) == ([2], [1])
    assert "AgentsInactive" not in values


def test_sweep_emits_the_age_of_the_oldest_pending_task(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock, poller: EventPoller
) -> None:
    for task in ("task-1", "task-2"):
        scenario.submit(task)
        clock.advance(150)
    moto_aws.empty_queues()  # no message makes them claimable
    emitted()
    poller.sweep()
    (age,) = emitted()["OldestPending"]
    assert 300 <= age < 360
    poller.drain()
    clock.advance(60)
    poller.sweep()
    assert "OldestPending" not in emitted(), "no task waits"


def test_age_of_a_pending_task_is_emitted_while_no_write_succeeds(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock, poller: EventPoller, no_pauses: None
) -> None:
    scenario.submit()
    moto_aws.empty_queues()
    clock.advance(900)
    emitted()
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999):
        poller.sweep()
    (age,) = emitted()["OldestPending"]
    assert 900 <= age < 960


def test_sweep_gauges_read_at_most_one_page_per_shard(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock, poller: EventPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MAX_ROWS_PER_SHARD", 1)
    for number in range(settings.shards + 2):
        scenario.agent(f"agent-{number}")
    scenario.queue_tasks("task-first")
    clock.advance(60)
    scenario.queue_tasks(*[f"task-{number}" for number in range(settings.shards + 2)])
    emitted()
    poller.sweep()
    values = emitted()
    assert 1 <= values["QueueDepth"][0] <= settings.shards
    assert 1 <= values["AgentsActive"][0] <= settings.shards
    assert 60 <= values["OldestQueued"][0] < 600, "the first task of a shard is the oldest"


def test_running_tasks_do_not_hide_queued_ones_from_the_gauges(
    scenario: Scenario, emitted: EmittedMetrics, poller: EventPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MAX_ROWS_PER_SHARD", 1)
    agent = scenario.agent()
    for number in range(8):  # some of them are in the shard of the queued task
        scenario.start_task(agent, f"task-{number}")
    scenario.queue_tasks("waiting")
    emitted()
    poller.sweep()
    assert emitted()["QueueDepth"] == [1]


def test_silent_agent_with_running_tasks_is_counted_as_inactive(
    scenario: Scenario, emitted: EmittedMetrics, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    scenario.start_task(scenario.agent("agent-1"))
    scenario.agent("agent-2")  # has no task, so it is not counted when it is silent
    pass_minutes(5)
    emitted()
    poller.sweep()
    values = emitted()
    assert values["AgentsInactive"] == [1]
    assert "AgentsActive" not in values


def test_webhook_attempts_are_counted_by_their_outcome(
    scenario: Scenario, emitted: EmittedMetrics, clock: Clock, poller: EventPoller
) -> None:
    queue = WebhookQueue(poller, clock)
    with Receiver() as receiver:
        hook = create_webhook(scenario.user, receiver.url)
        for answer, metric in ((500, "WebhooksRetried"), (204, "WebhooksDelivered"), (410, "WebhooksFailed")):
            receiver.respond_next(status(answer))
            hook.test()
            clock.advance(1)
            emitted()
            queue.deliver()
            assert {name: values for name, values in emitted().items() if "Webhooks" in name} == {metric: [1]}, answer


def test_every_metric_has_a_test_in_this_module() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in metrics.UNITS if f'"{name}"' not in source] == []
