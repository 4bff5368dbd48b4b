"""Takes a stage out of its account. On prod every table stays, and the secret: what nobody can give back."""

import sys
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy import functions, record, stack
from infra.deploy.account import Account, code
from infra.deploy.problems import Problem
from infra.deploy.stage import KEPT, Stage


def confirm(stage: Stage, read: Callable[[], str] = sys.stdin.readline) -> None:
    """On prod, have its name typed. Raises Problem if it is not."""
    if stage.name != KEPT:
        return
    print(f"This takes {stage.name} down: its API, functions and queues, with what is in them. Its tables stay.")
    print(f"Type {stage.name} to go on: ", end="", flush=True)
    if read().strip() != stage.name:
        raise Problem("Nothing was changed.")


def destroy(stage: Stage, account: Account) -> None:
    """Remove it all, as far as it is there; may be cut short and run again."""
    print("Functions and API")
    if record.write(stage, account):
        functions.delete(stage, account)
    for api in record.stage_apis(stage, account):  # those that Chalice did not know of
        account.client("apigateway").delete_rest_api(restApiId=api["id"])
    (stage.project / ".chalice" / "deployed" / f"{stage.name}.json").unlink(missing_ok=True)
    print("Stack")
    stack.remove(stage, account)
    print("What its template keeps")
    for kind, property_name, remove in KEPT_KINDS:
        for name in stage.named(kind, property_name):
            if stage.name == KEPT:
                print(f"  {name} stays")
            elif remove(account, name):
                print(f"  {name} removed")


def _remove_table(account: Account, name: str) -> bool:
    return _removed(account.client("dynamodb").delete_table, TableName=name)


def _remove_secret(account: Account, name: str) -> bool:
    """At once: for as long as a secret can be restored its name is taken."""
    return _removed(account.client("secretsmanager").delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True)


def _removed(delete: Any, **arguments: Any) -> bool:
    """Delete; False where there was nothing."""
    try:
        delete(**arguments)
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        return False
    return True


KEPT_KINDS: tuple[tuple[str, str, Callable[[Account, str], bool]], ...] = (
    ("AWS::DynamoDB::Table", "TableName", _remove_table),
    ("AWS::SecretsManager::Secret", "Name", _remove_secret),
)
"""What the template keeps whatever becomes of its stack, the property that names it, and how it goes all the same."""
