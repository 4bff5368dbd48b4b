"""What the functions tell CloudWatch: each metric, from what makes it."""

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
from tests.http import hooks
from tests.http.hooks import Queue
from tests.http.scene import Scene
from tests.service.conftest import PassMinutes
from tests.support.webhook_receiver import Receiver, status

Figures = Callable[[], dict[str, list[float]]]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> Figures:
    """The values of each metric since this was asked last, as CloudWatch reads them out of the log."""
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


def test_request_emits_its_count_and_latency(scene: Scene, figures: Figures) -> None:
    scene.user.get("/api/tasks")
    scene.user.get("/nowhere")
    told = figures()
    assert told["Requests"] == [1, 1]
    assert len(told["Latency"]) == 2
    assert set(told) == {"Requests", "Latency"}


def test_rate_limited_request_is_counted(scene: Scene, figures: Figures, clock: Clock) -> None:
    agent = scene.agent()
    figures()
    clock.advance(60.5 - clock.now / 1_000 % 60)  # the beginning of a minute
    for _ in range(12):
        agent.beat()
    assert figures()["RateLimited"] == [1, 1]


def test_claim_emits_the_dispatch_latency_of_its_task(scene: Scene, figures: Figures, clock: Clock) -> None:
    agent = scene.agent()
    scene.queued("task-1")
    clock.advance(20)
    scene.queued("task-2")
    clock.advance(5)
    figures()
    agent.poll()
    told = figures()
    assert told["Claims"] == [2]
    first, second = told["DispatchLatency"]
    assert first - second >= 20_000
    assert second >= 5_000
    agent.poll()
    assert "Claims" not in figures(), "a claim that is renewed is none"


def test_sweep_emits_queue_depth_and_agent_counts(
    scene: Scene, figures: Figures, clock: Clock, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    poller.sweep()
    assert figures() == {}, "an idle stage has nothing to pay for"
    for name in ("agent-1", "agent-2", "agent-3"):
        scene.agent(name)
    scene.user.post("/api/agents/agent-3/heartbeat", {"status": "error"})
    scene.queued("task-1")
    clock.advance(60)
    scene.queued("task-2")
    figures()
    poller.sweep()
    told = figures()
    assert told["QueueDepth"] == [2]
    assert 60 <= told["OldestQueued"][0] < 600
    assert (told["AgentsActive"], told["AgentsError"]) == ([2], [1])
    assert "AgentsInactive" not in told


def test_sweep_gauges_read_at_most_one_page_per_shard(
    scene: Scene, figures: Figures, clock: Clock, poller: EventPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MAX_ROWS_PER_SHARD", 1)
    for number in range(settings.shards + 2):
        scene.agent(f"agent-{number}")
    scene.queued("task-first")
    clock.advance(60)
    scene.queued(*[f"task-{number}" for number in range(settings.shards + 2)])
    figures()
    poller.sweep()
    told = figures()
    assert 1 <= told["QueueDepth"][0] <= settings.shards
    assert 1 <= told["AgentsActive"][0] <= settings.shards
    assert 60 <= told["OldestQueued"][0] < 600, "the first of a shard is the oldest"


def test_running_tasks_do_not_hide_queued_ones_from_the_gauges(
    scene: Scene, figures: Figures, poller: EventPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MAX_ROWS_PER_SHARD", 1)
    agent = scene.agent()
    for number in range(8):  # some of them in the shard of the one that waits
        scene.running(agent, f"task-{number}")
    scene.queued("waits")
    figures()
    poller.sweep()
    assert figures()["QueueDepth"] == [1]


def test_silent_agent_with_running_tasks_is_counted_as_inactive(
    scene: Scene, figures: Figures, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    scene.running(scene.agent("agent-1"))
    scene.agent("agent-2")  # holds nothing: silent, it is nobody's concern
    pass_minutes(5)
    figures()
    poller.sweep()
    told = figures()
    assert told["AgentsInactive"] == [1]
    assert "AgentsActive" not in told


def test_webhook_attempts_are_counted_by_their_outcome(
    scene: Scene, figures: Figures, clock: Clock, poller: EventPoller
) -> None:
    queue = Queue(poller, clock)
    with Receiver() as receiver:
        hook = hooks.make(scene.user, receiver.url)
        for answer, metric in ((500, "WebhooksRetried"), (204, "WebhooksDelivered"), (410, "WebhooksFailed")):
            receiver.respond_next(status(answer))
            hook.test()
            clock.advance(1)
            figures()
            queue.deliver()
            assert {name: values for name, values in figures().items() if "Webhooks" in name} == {metric: [1]}, answer


def test_every_metric_has_a_test_in_this_module() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in metrics.UNITS if f'"{name}"' not in told] == []
