"""Figures for CloudWatch, in its embedded metric format: a line of the log that CloudWatch makes metrics of.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

What happens is noted where it happens, and goes out with the one line that is written of a request, a batch or a
scheduled run anyway: a metric costs no call and no line of its own. The stage is the only dimension, since every
combination of dimensions is a metric, at 0.30 dollars a month; and one without a value in an hour costs nothing in it,
so nothing is noted where there is nothing.
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
    "AgentsActive": "Count",
    "AgentsInactive": "Count",
    "AgentsError": "Count",
    "WebhooksDelivered": "Count",
    "WebhooksRetried": "Count",
    "WebhooksFailed": "Count",
}
"""Every metric there is. docs/operations.md says what each means."""

MAX_VALUES = 100
"""CloudWatch takes so many values of one metric in a line."""

_recorded: ContextVar[dict[str, list[float]] | None] = ContextVar("metrics", default=None)


def begin() -> None:
    """A request, a batch or a run begins; what its threads note (in copies of this context) counts with it."""
    _recorded.set({})


def record(name: str, value: float = 1) -> None:
    """One value of a metric. Outside of what `begin` began it is lost."""
    noted = _recorded.get()
    if noted is not None:
        assert name in UNITS
        noted.setdefault(name, []).append(value)


def flush(now: int) -> dict[str, Any]:
    """What was noted since `begin`, as fields of a log line; nothing where nothing was."""
    noted = _recorded.get() or {}
    _recorded.set(None)
    return log_fields(noted, now) if noted else {}


def log_fields(noted: dict[str, list[float]], now: int) -> dict[str, Any]:
    """Fields of a log line that make CloudWatch take these values. Counts are added up, for fewer bytes."""
    values: dict[str, Any] = {
        name: sum(of) if UNITS[name] == "Count" else of[:MAX_VALUES] if len(of) > 1 else of[0]
        for name, of in noted.items()
    }
    metrics = [{"Name": name, "Unit": UNITS[name]} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Stage"]], "Metrics": metrics}
    return {"_aws": {"Timestamp": now, "CloudWatchMetrics": [directive]}, "Stage": settings.stage, **values}
