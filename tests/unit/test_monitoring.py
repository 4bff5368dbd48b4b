"""The template's alarms, dashboard and log groups: each function and queue has them, and they use existing metrics.

The names of functions, queues and metrics are read from .chalice/config.json, the template and the code. So a new
function without alarms and a log group fails here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.core import metrics
from infra.deploy.stage import PROJECT, Stage
from tests.support import template

CONFIG = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
STAGE = "dev"
FUNCTIONS = {
    name: f"devflow-{STAGE}" if name == "api_handler" else f"devflow-{STAGE}-{name}"
    for name in CONFIG["stages"][STAGE]["lambda_functions"]
}
QUEUES = {
    template.resolve_name(queue["Properties"]["QueueName"], STAGE): "RedrivePolicy" in queue["Properties"]
    for queue in template.resources("AWS::SQS::Queue").values()
}
"""Whether each queue invokes a function. The others are dead-letter queues."""
TABLES = {
    template.resolve_name(table["Properties"]["TableName"], STAGE)
    for table in template.resources("AWS::DynamoDB::Table").values()
}
ALARMS = {
    template.resolve_name(alarm["Properties"]["AlarmName"], STAGE): alarm["Properties"]
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
    "AWS/DynamoDB": {"by": {"TableName"}, "metrics": {"ThrottledRequests", "TransactionConflict"}},
    metrics.NAMESPACE: {"by": {"Stage"}, "metrics": set(metrics.UNITS)},
}  # fmt: skip
"""The metrics that AWS publishes and those that our code emits, by namespace, and the dimension of each namespace.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

NAMES = {
    "AWS/ApiGateway": {f"devflow-{STAGE}"},
    "AWS/Lambda": set(FUNCTIONS.values()),
    "AWS/SQS": set(QUEUES),
    "AWS/DynamoDB": TABLES,
    metrics.NAMESPACE: {STAGE},
}
"""The values that the dimension of each namespace can have."""


def metric_of(alarm: dict[str, Any]) -> str:
    return template.monitored_metric(alarm, STAGE).name


def dimension(alarm: dict[str, Any]) -> tuple[str, str]:
    metric = template.monitored_metric(alarm, STAGE)
    return metric.dimension, metric.value


def monitored(metric: str) -> set[str]:
    """The functions, queues, tables or APIs that have an alarm for this metric."""
    return {dimension(alarm)[1] for alarm in ALARMS.values() if metric_of(alarm) == metric}


every_alarm = pytest.mark.parametrize("name", ALARMS)


@every_alarm
def test_alarm_uses_an_existing_metric(name: str) -> None:
    alarm = ALARMS[name]
    metric = template.monitored_metric(alarm, STAGE)
    published = PUBLISHED[metric.namespace]
    assert metric.name in published["metrics"]
    assert {metric.dimension} == published["by"]
    assert metric.value in NAMES[metric.namespace]


@every_alarm
def test_alarm_description_names_its_instructions(name: str) -> None:
    text = ALARMS[name]["AlarmDescription"]
    explanation, reference, heading = text.partition("; docs/operations.md, ")
    assert reference
    assert len(explanation.split()) > 10, "what happened, why, and what to do next"
    assert len(text) <= 1_024, "CloudWatch's limit"
    assert re.search(rf"^#+ {re.escape(heading)}$", DOCUMENT, re.MULTILINE | re.IGNORECASE), heading


@every_alarm
def test_alarm_notifies_the_topic_when_it_starts_and_ends(name: str) -> None:
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == [{"Ref": "AlarmTopic"}]


def test_functions_have_error_and_throttle_alarms_and_expiring_logs() -> None:
    assert monitored("Errors") == monitored("Throttles") == set(FUNCTIONS.values())
    groups = template.resources("AWS::Logs::LogGroup").values()
    assert {template.resolve_name(group["Properties"]["LogGroupName"], STAGE) for group in groups} == {
        f"/aws/lambda/{name}" for name in FUNCTIONS.values()
    }
    assert all(group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups)


def test_every_queue_has_an_alarm_for_old_or_dead_messages() -> None:
    assert monitored("ApproximateAgeOfOldestMessage") == {queue for queue, invokes in QUEUES.items() if invokes}
    assert monitored("ApproximateNumberOfMessagesVisible") == {
        queue for queue, invokes in QUEUES.items() if not invokes
    }


def test_there_are_alarms_for_server_errors_and_a_stopped_sweep() -> None:
    assert monitored("5XXError") == {f"devflow-{STAGE}"}
    (stopped,) = [alarm for alarm in ALARMS.values() if metric_of(alarm) == "Invocations"]
    assert dimension(stopped)[1] == FUNCTIONS["sweep"]
    assert (stopped["ComparisonOperator"], stopped["Threshold"]) == ("LessThanThreshold", 1)
    assert stopped["TreatMissingData"] == "breaching", "a function that is not invoked emits no data"


def test_every_table_has_alarms_for_conflicts_and_throttled_requests() -> None:
    assert monitored("TransactionConflict") == monitored("ThrottledRequests") == TABLES


def test_throttled_requests_of_all_operations_of_a_table_are_added_up() -> None:
    """DynamoDB publishes ThrottledRequests with the dimensions TableName and Operation, and with no others."""
    throttled = [alarm for alarm in ALARMS.values() if metric_of(alarm) == "ThrottledRequests"]
    for alarm in throttled:
        (query,) = alarm["Metrics"]
        assert (
            'SUM(ThrottledRequests) FROM SCHEMA("AWS/DynamoDB", TableName, Operation)' in query["Expression"]["Fn::Sub"]
        )


def test_there_is_an_alarm_for_old_pending_tasks() -> None:
    """The age of a queue's oldest message misses a task whose message is lost."""
    assert monitored("OldestPending") == {STAGE}
    (alarm,) = [alarm for alarm in ALARMS.values() if metric_of(alarm) == "OldestPending"]
    assert alarm["Statistic"] == "Maximum"
    assert alarm["TreatMissingData"] == "notBreaching", "there is no value where no task waits"
    assert alarm["Threshold"] >= 10 * 60, "the sweep makes a task claimable long before"


def test_alarms_and_dashboard_are_optional() -> None:
    for alarm in (*template.resources("AWS::CloudWatch::Alarm").values(), template.load()["Resources"]["AlarmTopic"]):
        assert alarm["Condition"] == "HasAlarms"
    assert template.load()["Resources"]["Dashboard"]["Condition"] == "HasDashboard"


def dashboard_metrics() -> Iterator[tuple[str, str, str, str]]:
    """Each metric of the dashboard: namespace, name, dimension and its value."""
    text = template.resolve_name(template.load()["Resources"]["Dashboard"]["Properties"]["DashboardBody"], STAGE)
    for widget in json.loads(text.replace("${AWS::Region}", "us-east-1"))["widgets"]:
        for metric in widget["properties"]["metrics"]:
            yield metric[0], metric[1], metric[2], metric[3]


def test_dashboard_metrics_exist_and_include_all_of_ours() -> None:
    for namespace, name, dimension_name, value in dashboard_metrics():
        assert name in PUBLISHED[namespace]["metrics"], name
        assert {dimension_name} == PUBLISHED[namespace]["by"]
        assert value in NAMES[namespace]
    assert {name for namespace, name, _, _ in dashboard_metrics() if namespace == metrics.NAMESPACE} == set(
        metrics.UNITS
    )


def test_dashboard_has_every_function_and_every_invoking_queue() -> None:
    names = {value for _, _, _, value in dashboard_metrics()}
    assert names >= set(FUNCTIONS.values()) | {queue for queue, invokes in QUEUES.items() if invokes}


def test_template_fits_into_a_request() -> None:
    """CloudFormation accepts 51,200 bytes in a request. A larger template must be uploaded to S3.

    A deployment sends the template as compact JSON, without comments, indentation and what only checkov reads.
    """
    assert len(Stage(STAGE).template.encode()) < 51_200
    expected = template.load()
    for resource in expected["Resources"].values():
        resource.pop("Metadata", None)
    assert json.loads(Stage(STAGE).template) == expected
