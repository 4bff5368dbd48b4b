"""Figures in CloudWatch's embedded metric format."""

from contextvars import copy_context
from threading import Thread

import pytest

from chalicelib.core import metrics
from chalicelib.core.settings import settings

NOW = 1_767_603_600_000


def test_what_was_noted_goes_out_once_as_cloudwatch_wants_it() -> None:
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


def test_counts_are_added_up_and_other_values_are_kept_each_as_far_as_a_line_takes_them() -> None:
    metrics.begin()
    for wait in range(120):
        metrics.record("Claims")
        metrics.record("DispatchLatency", wait)
    noted = metrics.flush(NOW)
    assert noted["Claims"] == 120
    assert noted["DispatchLatency"] == list(range(metrics.MAX_VALUES))


def test_nothing_noted_is_nothing_to_pay_for() -> None:
    metrics.begin()
    assert metrics.flush(NOW) == {}
    metrics.record("Requests")  # outside of any request
    assert metrics.flush(NOW) == {}


def test_what_the_threads_of_a_batch_note_counts_with_it() -> None:
    metrics.begin()
    threads = [Thread(target=copy_context().run, args=(metrics.record, "WebhooksDelivered")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.flush(NOW)["WebhooksDelivered"] == 10


def test_a_metric_that_nobody_knows_of_is_a_mistake() -> None:
    metrics.begin()
    with pytest.raises(AssertionError):
        metrics.record("Requets")
