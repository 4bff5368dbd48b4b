"""Takes what an earlier stack of a stage has left into a new one: tables and the secret, which the template retains.

CloudFormation refuses to make what is there already. It takes in by itself (`ImportExistingResources`) neither what is
named by a function, as everything here is that has its stage in its name, nor secrets, whose identifier AWS makes up:
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html
So a first change set names each of them, and holds nothing else; the next one makes the rest.
"""

import json
from collections.abc import Callable
from typing import Any

import yaml
from botocore.exceptions import ClientError

from infra.deploy.account import Account, code
from infra.deploy.problems import Problem
from infra.deploy.stage import Stage

Left = dict[str, Any]
"""One resource, as CloudFormation wants it named:
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceToImport.html"""


def left(stage: Stage, account: Account) -> list[Left]:
    """What is there of what the template retains. Raises Problem for what is about to be gone."""
    return [
        {"ResourceType": kind, "LogicalResourceId": logical, "ResourceIdentifier": {identifier: found}}
        for kind, (property_name, identifier, look) in KINDS.items()
        for logical, name in stage.resources_named(kind, property_name).items()
        if (found := look(account, name))
    ]


def template_of(stage: Stage, taken: list[Left]) -> str:
    """The template with these resources alone: without outputs, for an import may have none."""
    whole = yaml.safe_load(stage.template)
    names = {each["LogicalResourceId"] for each in taken}
    resources = {name: resource for name, resource in whole["Resources"].items() if name in names}
    kept = {name: part for name, part in whole.items() if name != "Outputs"}
    return json.dumps(kept | {"Resources": resources}, default=str)


def _table(account: Account, name: str) -> str | None:
    return name if _described(account.client("dynamodb").describe_table, TableName=name) else None


def _secret(account: Account, name: str) -> str | None:
    """Its ARN."""
    found = _described(account.client("secretsmanager").describe_secret, SecretId=name)
    if found and "DeletedDate" in found:
        raise Problem(
            f"The secret {name} is being deleted, and its name is taken until then. Either get it back,\n"
            f"    aws secretsmanager restore-secret --secret-id {name}\n"
            "and deploy again, or have it deleted at once: then every session and every agent's token is void."
        )
    return str(found["ARN"]) if found else None


def _described(describe: Any, **arguments: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = describe(**arguments)
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        return None
    return found


KINDS: dict[str, tuple[str, str, Callable[[Account, str], str | None]]] = {
    "AWS::DynamoDB::Table": ("TableName", "TableName", _table),
    "AWS::SecretsManager::Secret": ("Name", "Id", _secret),
}
"""Of each kind that the template retains: the property that names it, what identifies it, and how that is found."""
