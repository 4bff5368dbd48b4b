"""Imports the tables and the secret that an earlier stack of a stage has retained into a new stack.

CloudFormation cannot create a resource that exists. Its automatic import (`ImportExistingResources`) does not work here
for two reasons. It does not support names that contain a function, and every name here contains the stage. It does not
support secrets either, because AWS generates their identifiers.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html

So a first change set of the type IMPORT names each retained resource and contains nothing else. The next change set
creates the other resources.
"""

import json
from collections.abc import Callable
from typing import Any

import yaml
from botocore.exceptions import ClientError

from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage

ResourceToImport = dict[str, Any]
"""One resource as CloudFormation expects it:
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceToImport.html"""


def find_retained(stage: Stage, account: AwsAccount) -> list[ResourceToImport]:
    """The retained resources of the template that exist. Raises DeployError if one is scheduled for deletion."""
    return [
        {"ResourceType": kind, "LogicalResourceId": logical_id, "ResourceIdentifier": {identifier: value}}
        for kind, (name_property, identifier, find) in IMPORTED_TYPES.items()
        for logical_id, name in stage.names_by_logical_id(kind, name_property).items()
        if (value := find(account, name))
    ]


def import_template(stage: Stage, resources: list[ResourceToImport]) -> str:
    """The template, reduced to these resources. It has no outputs, because an import may not have any."""
    template = yaml.safe_load(stage.template)
    imported = {resource["LogicalResourceId"] for resource in resources}
    definitions = {name: definition for name, definition in template["Resources"].items() if name in imported}
    sections = {name: section for name, section in template.items() if name != "Outputs"}
    return json.dumps(sections | {"Resources": definitions}, default=str)


def _find_table(account: AwsAccount, name: str) -> str | None:
    return name if _describe(account.client("dynamodb").describe_table, TableName=name) else None


def _find_secret(account: AwsAccount, name: str) -> str | None:
    """The ARN of the secret, or None."""
    secret = _describe(account.client("secretsmanager").describe_secret, SecretId=name)
    if secret and "DeletedDate" in secret:
        raise DeployError(
            f"The secret {name} is scheduled for deletion, and its name cannot be used until it is gone.\n"
            "Restore it and deploy again:\n"
            f"    aws secretsmanager restore-secret --secret-id {name}\n"
            "Or delete it at once. Every session and every agent token is then invalid:\n"
            f"    aws secretsmanager delete-secret --force-delete-without-recovery --secret-id {name}"
        )
    return str(secret["ARN"]) if secret else None


def _describe(describe: Any, **arguments: str) -> dict[str, Any] | None:
    """The description of a resource, or None if it does not exist."""
    try:
        description: dict[str, Any] = describe(**arguments)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return None
    return description


IMPORTED_TYPES: dict[str, tuple[str, str, Callable[[AwsAccount, str], str | None]]] = {
    "AWS::DynamoDB::Table": ("TableName", "TableName", _find_table),
    "AWS::SecretsManager::Secret": ("Name", "Id", _find_secret),
}
"""For each type that the template retains: the property with its name, its identifier, and the function that finds
the identifier's value."""
