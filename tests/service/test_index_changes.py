"""infra/deploy/checks.py refuses changes of indexes that CloudFormation cannot do in one deployment."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from infra.deploy import checks
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import TEMPLATE, Stage
from tests.support import template

TABLE = "devflow-prod-tasks"


@pytest.fixture
def deployed_table(aws: None) -> Iterator[Any]:
    """Creates the table of tasks of the stage prod, without some of its indexes."""
    client = boto3.client("dynamodb")

    def create(*missing: str, **changes: dict[str, Any]) -> None:
        (request,) = [each for each in template.create_table_requests("prod") if each["TableName"] == TABLE]
        indexes = [index for index in request["GlobalSecondaryIndexes"] if index["IndexName"] not in missing]
        indexes = [index | changes.get(index["IndexName"], {}) for index in indexes]
        used = {key["AttributeName"] for index in [request, *indexes] for key in index["KeySchema"]}
        attributes = [each for each in request["AttributeDefinitions"] if each["AttributeName"] in used]
        client.create_table(**request | {"GlobalSecondaryIndexes": indexes, "AttributeDefinitions": attributes})

    yield create
    client.delete_table(TableName=TABLE)


def stage_without(path: Path, *indexes: str) -> Stage:
    """The stage prod of a project whose template lacks some indexes of the tasks."""
    content = template.load()
    properties = content["Resources"]["Tasks"]["Properties"]
    properties["GlobalSecondaryIndexes"] = [
        index for index in properties["GlobalSecondaryIndexes"] if index["IndexName"] not in indexes
    ]
    (path / TEMPLATE).parent.mkdir()
    (path / TEMPLATE).write_text(yaml.safe_dump(content), encoding="utf-8")
    return Stage("prod", path)


def test_stage_without_tables_has_no_index_changes(aws: None) -> None:
    checks.check_indexes(Stage("prod"), AwsAccount())


@pytest.mark.parametrize("missing", [(), ("due",)])
def test_one_new_index_of_a_table_is_accepted(deployed_table: Any, missing: tuple[str, ...]) -> None:
    deployed_table(*missing)
    checks.check_indexes(Stage("prod"), AwsAccount())


def test_one_removed_index_of_a_table_is_accepted(deployed_table: Any, tmp_path: Path) -> None:
    deployed_table()
    checks.check_indexes(stage_without(tmp_path, "due"), AwsAccount())


def test_two_new_indexes_of_a_table_are_rejected(deployed_table: Any) -> None:
    deployed_table("due", "queue")
    with pytest.raises(DeployError) as error:
        checks.check_indexes(Stage("prod"), AwsAccount())
    assert "create the indexes due, queue of the table devflow-prod-tasks" in str(error.value)
    assert "Nothing was changed. Keep one of these changes in infra/template.yaml, deploy" in str(error.value)


def test_two_removed_indexes_of_a_table_are_rejected(deployed_table: Any, tmp_path: Path) -> None:
    deployed_table()
    with pytest.raises(DeployError, match="delete the indexes due, queue of the table devflow-prod-tasks"):
        checks.check_indexes(stage_without(tmp_path, "due", "queue"), AwsAccount())


def test_replacing_an_index_in_one_deployment_is_rejected(deployed_table: Any, tmp_path: Path) -> None:
    deployed_table("queue")
    expected = "create the index queue and delete the index due of the table devflow-prod-tasks"
    with pytest.raises(DeployError, match=expected):
        checks.check_indexes(stage_without(tmp_path, "due"), AwsAccount())


@pytest.mark.parametrize(
    "change",
    [
        {"Projection": {"ProjectionType": "ALL"}},
        {"Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["status", "title"]}},
        {"KeySchema": [{"AttributeName": "dueShard", "KeyType": "HASH"}]},
    ],
    ids=json.dumps,
)
def test_other_definition_under_the_same_name_is_rejected(deployed_table: Any, change: dict[str, Any]) -> None:
    deployed_table(due=change)
    with pytest.raises(DeployError, match="index due of the table devflow-prod-tasks has other keys") as error:
        checks.check_indexes(Stage("prod"), AwsAccount())
    assert "Add the new definition under another name" in str(error.value)


def test_order_of_projected_attributes_is_no_change(deployed_table: Any) -> None:
    reordered = {"Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["updatedAt", "timeout", "attempt"]}}
    deployed_table(queue=reordered)
    checks.check_indexes(Stage("prod"), AwsAccount())


def test_deployment_runs_the_check_before_it_changes_anything(
    deployed_table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed_table("due", "queue")
    monkeypatch.setattr(checks, "check_functions", lambda _: None)
    with pytest.raises(DeployError, match="indexes due, queue"):
        checks.check(Stage("prod"), AwsAccount())
    assert boto3.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_IN_PROGRESS"])["StackSummaries"] == []
