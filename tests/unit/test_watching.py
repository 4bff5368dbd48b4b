"""Alarms, the dashboard and logs, asserted on the template itself: that there is one for each thing there is, and that
what they look at exists.

What a function, a queue or a metric is called is read from .chalice/config.json, from the template and from the code,
so that one that is added without its alarm or its log fails here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.core import metrics
from infra.deploy.stage import PROJECT
from tests.support import template

CONFIG = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
STAGE = "dev"
FUNCTIONS = {
    name: f"devflow-{STAGE}" if name == "api_handler" else f"devflow-{STAGE}-{name}"
    for name in CONFIG["stages"][STAGE]["lambda_functions"]
}
QUEUES = {
    template.named(queue["Properties"]["QueueName"], STAGE): "RedrivePolicy" in queue["Properties"]
    for queue in template.resources("AWS::SQS::Queue").values()
}
"""Whether each queue is fed to a function; the others take what it could not handle."""
ALARMS = {
    template.named(alarm["Properties"]["AlarmName"], STAGE): alarm["Properties"]
    for alarm in template.resources("AWS::CloudWatch::Alarm").values()
}
DOCUMENT = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")

PUBLISHED = {
    "AWS/ApiGateway": {
        "by": {"ApiName"},
        "metrics": {"4XXError", "5XXError", "Count", "IntegrationLatency", "Latency"},
    },
    "AWS/Lambda": {
        "by": {"FunctionName"},
        "metrics": {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"},
    },
    "AWS/SQS": {
        "by": {"QueueName"},
        "metrics": {
            "ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesDeleted",
            "NumberOfMessagesReceived", "NumberOfMessagesSent",
        },
    },
    metrics.NAMESPACE: {"by": {"Stage"}, "metrics": set(metrics.UNITS)},
}  # fmt: skip
"""What AWS publishes by itself, and what our own code emits.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

NAMES = {
    "AWS/ApiGateway": {f"devflow-{STAGE}"},
    "AWS/Lambda": set(FUNCTIONS.values()),
    "AWS/SQS": set(QUEUES),
    metrics.NAMESPACE: {STAGE},
}
"""What each kind of metric can be about."""


def dimension(alarm: dict[str, Any]) -> tuple[str, str]:
    (one,) = alarm["Dimensions"]
    return one["Name"], template.named(one["Value"], STAGE)


def watched(metric: str) -> set[str]:
    """What has an alarm on this metric."""
    return {dimension(alarm)[1] for alarm in ALARMS.values() if alarm["MetricName"] == metric}


every_alarm = pytest.mark.parametrize("name", ALARMS)


@every_alarm
def test_what_an_alarm_looks_at_exists(name: str) -> None:
    alarm = ALARMS[name]
    by, about = dimension(alarm)
    published = PUBLISHED[alarm["Namespace"]]
    assert alarm["MetricName"] in published["metrics"]
    assert {by} == published["by"]
    assert about in NAMES[alarm["Namespace"]]


@every_alarm
def test_an_alarm_says_where_it_stands_what_to_do(name: str) -> None:
    text = ALARMS[name]["AlarmDescription"]
    _, named, heading = text.partition("; docs/operations.md, ")
    assert named
    assert re.search(rf"^#+ {re.escape(heading)}$", DOCUMENT, re.MULTILINE | re.IGNORECASE), heading


@every_alarm
def test_an_alarm_tells_the_one_topic_when_it_begins_and_when_it_ends(name: str) -> None:
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == [{"Ref": "AlarmTopic"}]


def test_every_function_has_alarms_for_errors_and_throttles_and_a_log_that_ends() -> None:
    assert watched("Errors") == watched("Throttles") == set(FUNCTIONS.values())
    groups = template.resources("AWS::Logs::LogGroup").values()
    assert {template.named(group["Properties"]["LogGroupName"], STAGE) for group in groups} == {
        f"/aws/lambda/{name}" for name in FUNCTIONS.values()
    }
    assert all(group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups)


def test_every_queue_has_an_alarm_for_what_waits_too_long_or_could_not_be_handled() -> None:
    assert watched("ApproximateAgeOfOldestMessage") == {queue for queue, is_fed in QUEUES.items() if is_fed}
    assert watched("ApproximateNumberOfMessagesVisible") == {queue for queue, is_fed in QUEUES.items() if not is_fed}


def test_the_api_has_an_alarm_for_5xx_and_the_sweep_one_for_standing_still() -> None:
    assert watched("5XXError") == {f"devflow-{STAGE}"}
    (stopped,) = [alarm for alarm in ALARMS.values() if alarm["MetricName"] == "Invocations"]
    assert dimension(stopped)[1] == FUNCTIONS["sweep"]
    assert (stopped["ComparisonOperator"], stopped["Threshold"]) == ("LessThanThreshold", 1)
    assert stopped["TreatMissingData"] == "breaching", "no call at all is no data at all"


def test_alarms_and_the_dashboard_can_be_had_or_not() -> None:
    for alarm in (*template.resources("AWS::CloudWatch::Alarm").values(), template.load()["Resources"]["AlarmTopic"]):
        assert alarm["Condition"] == "HasAlarms"
    assert template.load()["Resources"]["Dashboard"]["Condition"] == "HasDashboard"


def drawn() -> Iterator[tuple[str, str, str, str]]:
    """Each metric of the dashboard: namespace, name, dimension and what it is about."""
    text = template.named(template.load()["Resources"]["Dashboard"]["Properties"]["DashboardBody"], STAGE)
    for widget in json.loads(text.replace("${AWS::Region}", "us-east-1"))["widgets"]:
        for metric in widget["properties"]["metrics"]:
            yield metric[0], metric[1], metric[2], metric[3]


def test_what_the_dashboard_draws_exists_and_it_draws_every_metric_of_ours() -> None:
    for namespace, name, by, about in drawn():
        assert name in PUBLISHED[namespace]["metrics"], name
        assert {by} == PUBLISHED[namespace]["by"]
        assert about in NAMES[namespace]
    assert {name for namespace, name, _, _ in drawn() if namespace == metrics.NAMESPACE} == set(metrics.UNITS)


def test_the_dashboard_shows_every_function_and_every_fed_queue() -> None:
    shown = {about for _, _, _, about in drawn()}
    assert shown >= set(FUNCTIONS.values()) | {queue for queue, is_fed in QUEUES.items() if is_fed}


def test_the_template_is_small_enough_to_be_sent_as_it_is() -> None:
    """CloudFormation takes 51,200 bytes; more would have to be put into a bucket first."""
    assert len((PROJECT / "infra" / "template.yaml").read_bytes()) < 51_200
