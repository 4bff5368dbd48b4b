"""infra/template.yaml as data, for parts that moto ignores and for servers without CloudFormation."""

from typing import Any

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


def create_table_requests(stage: str) -> list[dict[str, Any]]:
    """The tables as parameters of DynamoDB's CreateTable: only keys, indexes and billing."""
    names = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return [
        {name: table["Properties"][name] for name in names if name in table["Properties"]}
        | {"TableName": resolve_name(table["Properties"]["TableName"], stage)}
        for table in resources("AWS::DynamoDB::Table").values()
    ]
