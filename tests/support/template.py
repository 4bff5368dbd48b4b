"""infra/template.yaml as data, for what moto ignores and for what has no CloudFormation."""

from typing import Any

import yaml

from infra.local.local_aws import TEMPLATE


def load() -> dict[str, Any]:
    """The template as it stands."""
    template: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    return template


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of one type, by logical name."""
    return {name: resource for name, resource in load()["Resources"].items() if resource["Type"] == kind}


def named(value: dict[str, str], stage: str) -> str:
    """A name as a stage has it: `{"Fn::Sub": "devflow-${Stage}-tasks"}` resolved."""
    return value["Fn::Sub"].replace("${Stage}", stage)


def create_table_requests(stage: str) -> list[dict[str, Any]]:
    """The tables as parameters of DynamoDB's CreateTable: keys, indexes and billing, and nothing around them."""
    kept = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return [
        {name: table["Properties"][name] for name in kept if name in table["Properties"]}
        | {"TableName": named(table["Properties"]["TableName"], stage)}
        for table in resources("AWS::DynamoDB::Table").values()
    ]
