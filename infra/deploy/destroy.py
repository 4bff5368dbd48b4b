"""Removes a stage from its account. On prod all tables and the secret stay, because they cannot be recreated."""

import sys
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy import chalice_cli, deployed_resources, stack
from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import PROTECTED_STAGE, Stage


def confirm(stage: Stage, read_line: Callable[[], str] = sys.stdin.readline) -> None:
    """On prod, ask the operator to type the stage's name. Raises DeployError if another text is typed."""
    if stage.name != PROTECTED_STAGE:
        return
    print(f"This removes {stage.name}: its API, its functions, and its queues with their messages. Its tables stay.")
    print(f"Type {stage.name} to continue: ", end="", flush=True)
    if read_line().strip() != stage.name:
        raise DeployError("The name was not typed. Nothing was changed.")


def destroy(stage: Stage, account: AwsAccount) -> None:
    """Remove every resource that exists. An interrupted run can be repeated."""
    print("Functions and API")
    if deployed_resources.write(stage, account):
        chalice_cli.delete(stage, account)
    for api in deployed_resources.stage_apis(stage, account):  # those that Chalice did not know
        account.client("apigateway").delete_rest_api(restApiId=api["id"])
    deployed_resources.path(stage).unlink(missing_ok=True)
    print("Stack")
    stack.remove(stage, account)
    print("Retained resources")
    for kind, name_property, delete in RETAINED_TYPES:
        for name in stage.resource_names(kind, name_property):
            if stage.name == PROTECTED_STAGE:
                print(f"  {name} stays")
            elif delete(account, name):
                print(f"  {name} removed")


def _delete_table(account: AwsAccount, name: str) -> bool:
    return _delete(account.client("dynamodb").delete_table, TableName=name)


def _delete_secret(account: AwsAccount, name: str) -> bool:
    """Delete without a recovery window, during which the name could not be used again."""
    return _delete(account.client("secretsmanager").delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True)


def _delete(delete: Any, **arguments: Any) -> bool:
    """Whether there was something to delete."""
    try:
        delete(**arguments)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return False
    return True


RETAINED_TYPES: tuple[tuple[str, str, Callable[[AwsAccount, str], bool]], ...] = (
    ("AWS::DynamoDB::Table", "TableName", _delete_table),
    ("AWS::SecretsManager::Secret", "Name", _delete_secret),
)
"""Each type that the template retains when its stack is removed, the property with its name, and the function that
deletes a resource of it."""
