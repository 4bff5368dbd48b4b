"""Repairs the settings of restored tables.

CloudFormation compares a template with the previous template, not with the actual resources. A table that was deleted
and restored from a backup under its old name is the same table to CloudFormation. But the restored table has none of
the settings that this module applies: expiry of rows, point-in-time recovery and deletion protection.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from infra.deploy.aws_account import AwsAccount
from infra.deploy.stage import PROTECTED_STAGE, Stage


def apply(stage: Stage, account: AwsAccount) -> None:
    """Apply the template's settings to every table that does not have them."""
    client, resources = account.client("dynamodb"), yaml.safe_load(stage.template)["Resources"]
    for logical_id, table in stage.names_by_logical_id("AWS::DynamoDB::Table", "TableName").items():
        _apply(client, table, resources[logical_id]["Properties"], protected=stage.name == PROTECTED_STAGE)


def _apply(client: Any, table: str, properties: Mapping[str, Any], *, protected: bool) -> None:
    ttl = properties.get("TimeToLiveSpecification")
    if ttl and client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"] not in (
        "ENABLED",
        "ENABLING",
    ):
        print(f"  enabling expiry of rows of {table}")
        client.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)
    backups = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        print(f"  enabling point-in-time recovery of {table}")
        client.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification=properties["PointInTimeRecoverySpecification"]
        )
    if protected and not client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        print(f"  enabling deletion protection of {table}")
        client.update_table(TableName=table, DeletionProtectionEnabled=True)
