"""infra/template.yaml as data, for parts that moto ignores and for servers without CloudFormation."""

import re
from typing import Any, NamedTuple

import yaml

from infra.local.local_aws import TEMPLATE


def load() -> dict[str, Any]:
    """The parsed template."""
    template: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    return template


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of one type, by logical name."""
    return {name: resource for name, resource in load()["Resources"].items() if resource["Type"] == kind}


def resolve_name(value: dict[str, str], stage: str) -> str:
    """The name of a resource on a stage: resolves `{"Fn::Sub": "devflow-${Stage}-tasks"}`."""
    return value["Fn::Sub"].replace("${Stage}", stage)


class Metric(NamedTuple):
    """A metric of CloudWatch: its namespace, its name, and the dimension that selects it."""

    namespace: str
    name: str
    dimension: str
    value: str


_QUERY = re.compile(r"SELECT \w+\((\w+)\) FROM SCHEMA\(\"([\w/]+)\", [\w, ]+\) WHERE (\w+) = '([\w-]+)'")


def monitored_metric(alarm: dict[str, Any], stage: str = "") -> Metric:
    """The metric of an alarm, as the template or CloudWatch describes it. The alarm names it, or has a query for it.

    `stage` is needed for an alarm of the template, whose names contain it.
    """

    def resolved(value: str | dict[str, str]) -> str:
        return value if isinstance(value, str) else resolve_name(value, stage)

    if alarm.get("Metrics"):
        (query,) = alarm["Metrics"]
        found = _QUERY.fullmatch(resolved(query["Expression"]))
        assert found, query
        name, namespace, dimension, value = found.groups()
        return Metric(namespace, name, dimension, value)
    (one,) = alarm["Dimensions"]
    return Metric(alarm["Namespace"], alarm["MetricName"], one["Name"], resolved(one["Value"]))


def create_table_requests(stage: str) -> list[dict[str, Any]]:
    """The tables as parameters of DynamoDB's CreateTable: only keys, indexes and billing."""
    names = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return [
        {name: table["Properties"][name] for name in names if name in table["Properties"]}
        | {"TableName": resolve_name(table["Properties"]["TableName"], stage)}
        for table in resources("AWS::DynamoDB::Table").values()
    ]
