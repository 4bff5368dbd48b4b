"""What the template says of tables and CloudFormation does not look at again: a table that was restored has none of it.

CloudFormation compares a template with the one before, not with what there is. A table that was deleted and put back
from a backup under its old name is, to it, the one that it made.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from infra.deploy.account import Account
from infra.deploy.stage import KEPT, Stage


def settle(stage: Stage, account: Account) -> None:
    """Set expiry of rows, recovery to any second and protection from deletion, where they are not as they should be."""
    client, resources = account.client("dynamodb"), yaml.safe_load(stage.template)["Resources"]
    for logical, table in stage.resources_named("AWS::DynamoDB::Table", "TableName").items():
        _settle(client, table, resources[logical]["Properties"], kept=stage.name == KEPT)


def _settle(client: Any, table: str, said: Mapping[str, Any], *, kept: bool) -> None:
    expiry = said.get("TimeToLiveSpecification")
    if expiry and client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"] not in (
        "ENABLED",
        "ENABLING",
    ):
        print(f"  rows of {table} expire")
        client.update_time_to_live(TableName=table, TimeToLiveSpecification=expiry)
    recovery = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    if recovery.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        print(f"  {table} can be put back to any second from now on")
        client.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification=said["PointInTimeRecoverySpecification"]
        )
    if kept and not client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        print(f"  {table} is protected from deletion")
        client.update_table(TableName=table, DeletionProtectionEnabled=True)
