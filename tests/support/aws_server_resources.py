"""Kinds of CloudFormation resources that moto does not create. Importing this module registers them with moto."""

import json
import secrets
from typing import Any, Self

from moto.cloudwatch.models import MetricDataQuery, cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends


class Secret(CloudFormationModel):
    """AWS::SecretsManager::Secret with generated content, with the properties that the template uses."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SecretsManager::Secret"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> Self:
        generated = cloudformation_json["Properties"]["GenerateSecretString"]
        random = secrets.token_hex(int(generated["PasswordLength"]) // 2)
        content = json.loads(generated["SecretStringTemplate"]) | {generated["GenerateStringKey"]: random}
        backend: Any = secretsmanager_backends[account_id][region_name]
        backend.create_secret(resource_name, json.dumps(content), None, None, [], None, None, [], False)  # noqa: FBT003
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: Self, *_: Any) -> Self:
        return original_resource  # the content is generated once


class Alarm(CloudFormationModel):
    """AWS::CloudWatch::Alarm on one metric or one query, as the template has them."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            metric_data_queries=[
                MetricDataQuery(query["Id"], "", query["Period"], query["ReturnData"], expression=query["Expression"])
                for query in properties.get("Metrics", [])
            ],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=properties["EvaluationPeriods"],
            period=properties.get("Period"),
            threshold=properties["Threshold"],
            statistic=properties.get("Statistic"),
            description=properties["AlarmDescription"],
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties["AlarmActions"],
        )
        return cls(resource_name)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, _: dict[str, Any], account_id: str, region_name: str
    ) -> None:
        cloudwatch_backends[account_id][region_name].delete_alarms([resource_name])
