"""The resources in an account that a deployment creates."""

import json
from typing import Any

from tests.deploy.conftest import Cloud
from tests.support import template


class AccountState:
    """Reads each kind of resource as plain values, which can be compared with the expected or an earlier state."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def all_resources(self) -> dict[str, Any]:
        """All resources, for a comparison with another time."""
        return {
            "functions": self.functions(),
            "roles": self.roles(),
            "triggers": self.triggers(),
            "rules": self.rules(),
            "apis": self.apis(),
            "tables": self.tables(),
            "queues": self.queues(),
            "secrets": self.secrets(),
            "alarms": self.alarms(),
            "dashboards": self.dashboards(),
            "topics": self.topics(),
            "logs": self.logs(),
        }

    def functions(self) -> dict[str, Any]:
        client = self._cloud.client("lambda")
        return {
            function["FunctionName"]: {
                "settings": {name: function[name] for name in _SETTINGS},
                "environment": function["Environment"]["Variables"],
                "allowed": _allowed(client, function["FunctionName"]),
                "asynchronous": _asynchronous(client, function["FunctionName"]),
            }
            for function in client.list_functions()["Functions"]
        }

    def roles(self) -> dict[str, Any]:
        client = self._cloud.client("iam")
        return {
            role["RoleName"]: {
                "trusted": role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"],
                "policies": {
                    name: client.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
                    for name in client.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
                },
            }
            for role in client.list_roles()["Roles"]
        }

    def triggers(self) -> list[Any]:
        names = (
            "UUID", "EventSourceArn", "FunctionArn", "BatchSize", "ScalingConfig", "FunctionResponseTypes", "State"
        )  # fmt: skip
        found = self._cloud.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        return sorted(({name: each.get(name) for name in names} for each in found), key=lambda each: each["UUID"])

    def rules(self) -> dict[str, Any]:
        client = self._cloud.client("events")
        return {
            rule["Name"]: {
                "schedule": rule["ScheduleExpression"],
                "state": rule["State"],
                "targets": [target["Arn"] for target in client.list_targets_by_rule(Rule=rule["Name"])["Targets"]],
            }
            for rule in client.list_rules()["Rules"]
        }

    def apis(self) -> list[Any]:
        client = self._cloud.client("apigateway")
        return [
            {
                "id": api["id"],
                "name": api["name"],
                "stages": [stage["stageName"] for stage in client.get_stages(restApiId=api["id"])["item"]],
                "throttling": [
                    (settings["throttlingRateLimit"], settings["throttlingBurstLimit"])
                    for stage in client.get_stages(restApiId=api["id"])["item"]
                    for settings in stage["methodSettings"].values()
                ],
                "routes": _routes(client, api["id"]),
                "responses": {
                    each["responseType"]: (each["statusCode"], each["responseTemplates"], each["responseParameters"])
                    for each in client.get_gateway_responses(restApiId=api["id"])["items"]
                },
            }
            for api in client.get_rest_apis()["items"]
        ]

    def tables(self) -> dict[str, Any]:
        """The settings that CloudFormation does not restore: expiry of rows, recovery and deletion protection."""
        client = self._cloud.client("dynamodb")
        return {name: _table_settings(client, name) for name in client.list_tables()["TableNames"]}

    def queues(self) -> dict[str, Any]:
        client = self._cloud.client("sqs")
        names = ("VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy")
        described = {}
        for url in client.list_queues().get("QueueUrls", []):
            attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            described[url.rpartition("/")[2]] = {name: attributes.get(name) for name in names}
        return described

    def alarms(self) -> dict[str, template.Metric]:
        """The metric of each alarm."""
        found = self._cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return {alarm["AlarmName"]: template.monitored_metric(alarm) for alarm in found}

    def dashboards(self) -> list[str]:
        return [
            each["DashboardName"] for each in self._cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]
        ]

    def topics(self) -> list[str]:
        return [each["TopicArn"] for each in self._cloud.client("sns").list_topics()["Topics"]]

    def logs(self) -> dict[str, int]:
        """The number of days for which each log group keeps its lines."""
        groups = self._cloud.client("logs").describe_log_groups()["logGroups"]
        return {group["logGroupName"]: group["retentionInDays"] for group in groups}

    def secrets(self) -> dict[str, str]:
        client = self._cloud.client("secretsmanager")
        names = [secret["Name"] for secret in client.list_secrets()["SecretList"]]
        return {name: client.get_secret_value(SecretId=name)["SecretString"] for name in names}


_SETTINGS = ("Runtime", "Handler", "MemorySize", "Timeout", "Architectures", "Role", "CodeSha256")


def _allowed(client: Any, function: str) -> list[tuple[str, str]]:
    """The services that may invoke a function, and the source that each may do it for."""
    try:
        policy = json.loads(client.get_policy(FunctionName=function)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return []
    return sorted(
        (statement["Principal"]["Service"], statement["Condition"]["ArnLike"]["AWS:SourceArn"])
        for statement in policy["Statement"]
    )


def _asynchronous(client: Any, function: str) -> tuple[int, int] | None:
    """The number of retries, and the age in seconds after which an event is dropped."""
    try:
        found = client.get_function_event_invoke_config(FunctionName=function)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]


def _table_settings(client: Any, table: str) -> dict[str, Any]:
    backups = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    return {
        "expiry": client.describe_time_to_live(TableName=table)["TimeToLiveDescription"].get("AttributeName"),
        "recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "protected": client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled", False),
    }


def _routes(client: Any, api: str) -> dict[tuple[str, str], str]:
    """The function of each method of each path; "" for a preflight, which has none."""
    routes = {}
    for resource in client.get_resources(restApiId=api, embed=["methods"], limit=500)["items"]:
        for method in resource.get("resourceMethods", {}):
            found = client.get_integration(restApiId=api, resourceId=resource["id"], httpMethod=method)
            uri = found.get("uri") or ""
            routes[method, resource["path"]] = uri.rpartition(":function:")[2].removesuffix("/invocations")
    return routes
