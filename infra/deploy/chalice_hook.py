"""What `chalice deploy --stage X` does when it is run directly, without `make deploy`.

`.chalice/load_hook.py` calls `before_deploy` when Chalice's command line loads app.py. The hook does two of the steps
of `make deploy`: it reports missing tables and queues before anything is changed, and it builds the package that starts
fast.
"""

import sys
from collections.abc import Iterator
from typing import Any

import click
from botocore.exceptions import ClientError

from infra.deploy import package
from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage


def before_deploy() -> None:
    """Check the stage and build its package, if the running command is `chalice deploy`; do nothing otherwise.

    Ends the process with a message if the stage is not complete or the package cannot be built.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "deploy":
        return
    stage = Stage(context.params["stage"])
    try:
        raise_if_missing(missing_resources(stage, AwsAccount(context.params["profile"])), stage.name)
        package.build(stage.project, stage.architecture)
    except DeployError as problem:
        sys.exit(f"\n{problem}")


def missing_resources(stage: Stage, account: AwsAccount) -> list[str]:
    """The tables and queues that the template defines and the account does not have, such as `table devflow-dev-users`.

    Raises ClientError if AWS refuses to describe them.
    """
    return [*_missing_tables(stage, account), *_missing_queues(stage, account)]


def raise_if_missing(names: list[str], stage_name: str) -> None:
    """Raise DeployError if anything is missing."""
    if names:
        raise DeployError(
            f"The stage {stage_name} is not complete. It has no {', '.join(names)}.\n"
            "`chalice deploy` deploys functions and the API. It does not create the tables and queues of\n"
            f"infra/template.yaml. Run this command, which does both:\n\n"
            f"    make deploy STAGE={stage_name}\n"
        )


def _missing_tables(stage: Stage, account: AwsAccount) -> Iterator[str]:
    for table in stage.tables:
        if not _exists(account.client("dynamodb").describe_table, "ResourceNotFoundException", TableName=table):
            yield f"table {table}"


def _missing_queues(stage: Stage, account: AwsAccount) -> Iterator[str]:
    for queue in stage.queues:
        if not _exists(account.client("sqs").get_queue_url, "AWS.SimpleQueueService.NonExistentQueue", QueueName=queue):
            yield f"queue {queue}"


def _exists(describe: Any, not_found_code: str, **arguments: str) -> bool:
    try:
        describe(**arguments)
    except ClientError as error:
        if error_code(error) not in (not_found_code, "QueueDoesNotExist"):
            raise
        return False
    return True
