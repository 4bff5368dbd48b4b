"""Metrics for CloudWatch, in its embedded metric format: CloudWatch extracts metrics from log lines.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Code records values where something happens. They are sent with the one log line that a request, a batch or a scheduled
run writes anyway, so a metric needs no AWS call and no line. The stage is the only dimension, because every combination
of dimensions is a metric that costs 0.30 dollars a month. A metric costs nothing in an hour without a value. So code
does not record a value of zero.
"""

from contextvars import ContextVar
from typing import Any

from chalicelib.core.settings import settings

NAMESPACE = "DevFlow"

UNITS = {
    "Requests": "Count",
    "Latency": "Milliseconds",
    "RateLimited": "Count",
    "Claims": "Count",
    "DispatchLatency": "Milliseconds",
    "QueueDepth": "Count",
    "OldestQueued": "Seconds",
    "OldestPending": "Seconds",
    "AgentsActive": "Count",
    "AgentsInactive": "Count",
    "AgentsError": "Count",
    "WebhooksDelivered": "Count",
    "WebhooksRetried": "Count",
    "WebhooksFailed": "Count",
}
"""Every metric with its unit. docs/operations.md describes each metric."""

MAX_VALUES = 100
"""The number of values that CloudWatch accepts for one metric in one line."""

_recorded: ContextVar[dict[str, list[float]] | None] = ContextVar("metrics", default=None)


def begin() -> None:
    """Start to collect the values of a request, a batch or a run.

    Threads that run in copies of this context add to the same values.
    """
    _recorded.set({})


def record(name: str, value: float = 1) -> None:
    """Record one value of a metric. Before the first `begin` and after `flush` it is discarded."""
    recorded = _recorded.get()
    if recorded is not None:
        assert name in UNITS
        recorded.setdefault(name, []).append(value)


def flush(now: int) -> dict[str, Any]:
    """The values since `begin` as fields of a log line. {} if there are none."""
    recorded = _recorded.get() or {}
    _recorded.set(None)
    return log_fields(recorded, now) if recorded else {}


def log_fields(recorded: dict[str, list[float]], now: int) -> dict[str, Any]:
    """Fields of a log line from which CloudWatch extracts these values.

    To save bytes, counts are summed, and of ages (in seconds) only the oldest is sent.
    """
    values = {name: _combine(UNITS[name], each) for name, each in recorded.items()}
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Stage"]], "Metrics": metrics}
    return {"_aws": {"Timestamp": now, "CloudWatchMetrics": [directive]}, "Stage": settings.stage, **values}


def _combine(unit: str, values: list[float]) -> Any:
    if unit == "Count":
        return sum(values)
    if unit == "Seconds":
        return max(values)
    return values[:MAX_VALUES] if len(values) > 1 else values[0]
