"""What `chalice deploy --stage X`, run by itself, gets of `make deploy`.

app.py calls this when Chalice's command loads it: missing tables are named before anything is changed, and the
package is the one that starts fast.
"""

import sys
from collections.abc import Iterator
from typing import Any

import click
from botocore.exceptions import ClientError

from infra.deploy import package
from infra.deploy.account import Account, code
from infra.deploy.problems import Problem
from infra.deploy.stage import Stage


def prepare() -> None:
    """Check and build, if this is `chalice deploy`; ends the process, saying why, where it cannot go on."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "deploy":
        return
    stage = Stage(context.params["stage"])
    try:
        refuse_without(missing(stage, Account(context.params["profile"])), stage.name)
        package.build(stage.project, stage.architecture)
    except Problem as problem:
        sys.exit(f"\n{problem}")


def missing(stage: Stage, account: Account) -> list[str]:
    """Tables and queues that the template defines and the account does not have."""
    return [*_missing_tables(stage, account), *_missing_queues(stage, account)]


def refuse_without(names: list[str], stage: str) -> None:
    """Raise Problem if anything is missing."""
    if names:
        raise Problem(
            f"The stage {stage} is not complete. It has no {', '.join(names)}.\n"
            f"Chalice makes functions and the API; tables and queues are infra/template.yaml's. Run\n\n"
            f"    make deploy STAGE={stage}\n\n"
            "which makes them first, then does what `chalice deploy` does, and then what Chalice cannot."
        )


def _missing_tables(stage: Stage, account: Account) -> Iterator[str]:
    for table in stage.tables:
        if not _there(account.client("dynamodb").describe_table, "ResourceNotFoundException", TableName=table):
            yield f"table {table}"


def _missing_queues(stage: Stage, account: Account) -> Iterator[str]:
    for queue in stage.queues:
        if not _there(account.client("sqs").get_queue_url, "AWS.SimpleQueueService.NonExistentQueue", QueueName=queue):
            yield f"queue {queue}"


def _there(ask: Any, absent: str, **arguments: str) -> bool:
    try:
        ask(**arguments)
    except ClientError as error:
        if code(error) not in (absent, "QueueDoesNotExist"):
            raise
        return False
    return True
