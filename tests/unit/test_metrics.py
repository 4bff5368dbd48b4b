"""chalicelib/core/metrics.py: metrics in CloudWatch's embedded metric format."""

from contextvars import copy_context
from threading import Thread

import pytest

from chalicelib.core import metrics
from chalicelib.core.settings import settings

NOW = 1_767_603_600_000


def test_recorded_values_are_flushed_once_in_cloudwatch_format() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    metrics.begin()
    metrics.record("Requests")
    metrics.record("Latency", 12.5)
    assert metrics.flush(NOW) == {
        "_aws": {
            "Timestamp": NOW,
            "CloudWatchMetrics": [
                {
                    "Namespace": "DevFlow",
                    "Dimensions": [["Stage"]],
                    "Metrics": [{"Name": "Requests", "Unit": "Count"}, {"Name": "Latency", "Unit": "Milliseconds"}],
                }
            ],
        },
        "Stage": settings.stage,
        "Requests": 1,
        "Latency": 12.5,
    }
    assert metrics.flush(NOW) == {}


def test_counts_are_summed_and_other_values_are_limited_per_line() -> None:
    metrics.begin()
    for wait in range(120):
        metrics.record("Claims")
        metrics.record("DispatchLatency", wait)
    fields = metrics.flush(NOW)
    assert fields["Claims"] == 120
    assert fields["DispatchLatency"] == list(range(metrics.MAX_VALUES))


def test_only_the_oldest_of_several_ages_is_sent() -> None:
    metrics.begin()
    for age in range(200):
        metrics.record("OldestPending", age)
    assert metrics.flush(NOW)["OldestPending"] == 199


def test_flush_without_recorded_values_is_empty() -> None:
    metrics.begin()
    assert metrics.flush(NOW) == {}
    metrics.record("Requests")  # outside of a request
    assert metrics.flush(NOW) == {}


def test_threads_of_a_batch_record_into_the_batch() -> None:
    metrics.begin()
    threads = [Thread(target=copy_context().run, args=(metrics.record, "WebhooksDelivered")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.flush(NOW)["WebhooksDelivered"] == 10


def test_unknown_metric_is_an_assertion_error() -> None:
    metrics.begin()
    with pytest.raises(AssertionError):
        metrics.record("Requets")
