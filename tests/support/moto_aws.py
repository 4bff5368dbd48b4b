"""AWS in this process: moto, with the tables and queues of infra/template.yaml deployed into it once."""

import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.ses.models import Message, ses_backends
from moto.sqs.models import sqs_backends

from infra.local import local_aws
from infra.local.lambda_context import ACCOUNT, REGION
from infra.local.moto_tuning import tune
from tests.support import wire
from tests.support.environment import MAIL_FROM, STAGE


@contextmanager
def deployed() -> Iterator[None]:
    """moto for the duration, safe under threads, with the stack in it."""
    tune()
    with mock_aws(), _untraced():
        with warnings.catch_warnings():
            # The secret, for one; what moto ignores is asserted on the template itself.
            warnings.filterwarnings("ignore", "Tried to parse .* not supported by moto", UserWarning)
            local_aws.deploy_template(STAGE)
        boto3.client("sesv2").create_email_identity(EmailIdentity=MAIL_FROM)
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    """Coverage is called for every line that runs, and most are botocore's and moto's: spared those, the tests take
    two thirds of the time."""
    client: Any = BaseClient
    call = client._make_api_call

    def act(*args: Any, **kwargs: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return call(*args, **kwargs)
        finally:
            sys.settrace(tracer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_make_api_call", act)
        yield


def empty() -> None:
    """Remove every row and every message; in moto's own memory, since a new deployment would take seconds."""
    for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
        table.items.clear()
    ses_backends[ACCOUNT][REGION].sent_messages.clear()
    empty_queues()


def empty_queues() -> None:
    for queue in sqs_backends[ACCOUNT][REGION].queues.values():
        queue._messages.clear()
        queue._pending_messages.clear()
        queue.deleted_messages.clear()


class Kept:
    """All rows as they are now, to be put back. Messages, which would pile up where nobody reads them, are dropped."""

    def __init__(self) -> None:
        self._kept = {name: copy.deepcopy(table.items) for name, table in self._tables().items()}

    def put_back(self) -> None:
        empty()
        for name, table in self._tables().items():
            table.items = copy.deepcopy(self._kept[name])

    @staticmethod
    def _tables() -> dict[str, Any]:
        tables: dict[str, Any] = dynamodb_backends[ACCOUNT][REGION].tables
        return tables


def rows(table: str) -> list[dict[str, Any]]:
    """Every row of a table, by its short name, in DynamoDB's own JSON; DynamoDB Local's where a test runs on that."""
    name = f"devflow-{STAGE}-{table}"
    if wire.is_redirected("dynamodb"):
        pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]
    backend = dynamodb_backends[ACCOUNT][REGION]
    return [item.to_json()["Attributes"] for item in backend.tables[name].all_items()]


def mails() -> list[Message]:
    """What SES was given to send: `source`, `destinations`, `subject` and `body` of each."""
    return [sent for sent in ses_backends[ACCOUNT][REGION].sent_messages if isinstance(sent, Message)]


def messages(queue: str) -> list[str]:
    """The bodies of the messages in a queue, by its short name, in flight or not."""
    backend = sqs_backends[ACCOUNT][REGION]
    return [str(message.body) for message in backend.queues[f"devflow-{STAGE}-{queue}"]._messages]
