"""AWS in this process: moto, with the tables and queues of infra/template.yaml, which are deployed once."""

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
from tests.support import aws_requests
from tests.support.environment import MAIL_FROM, STAGE


@contextmanager
def deployed() -> Iterator[None]:
    """Run moto during the block, thread-safe and with the stack deployed."""
    tune()
    with mock_aws(), _untraced():
        with warnings.catch_warnings():
            # For example the secret. Other tests check on the template itself what moto ignores.
            warnings.filterwarnings("ignore", "Tried to parse .* not supported by moto", UserWarning)
            local_aws.deploy_template(STAGE)
        boto3.client("sesv2").create_email_identity(EmailIdentity=MAIL_FROM)
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    """Do not trace the lines of botocore and moto for coverage. This saves a third of the time of the tests."""
    client: Any = BaseClient
    call = client._make_api_call

    def call_untraced(*args: Any, **kwargs: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return call(*args, **kwargs)
        finally:
            sys.settrace(tracer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_make_api_call", call_untraced)
        yield


def empty() -> None:
    """Remove all rows and messages from moto's memory. A new deployment would take seconds."""
    for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
        table.items.clear()
    ses_backends[ACCOUNT][REGION].sent_messages.clear()
    empty_queues()


def empty_queues() -> None:
    for queue in sqs_backends[ACCOUNT][REGION].queues.values():
        queue._messages.clear()
        queue._pending_messages.clear()
        queue.deleted_messages.clear()


class Snapshot:
    """A copy of all current rows. `restore` writes them back and removes all messages."""

    def __init__(self) -> None:
        self._saved = {name: copy.deepcopy(table.items) for name, table in self._tables().items()}

    def restore(self) -> None:
        empty()
        for name, table in self._tables().items():
            table.items = copy.deepcopy(self._saved[name])

    @staticmethod
    def _tables() -> dict[str, Any]:
        tables: dict[str, Any] = dynamodb_backends[ACCOUNT][REGION].tables
        return tables


def rows(table: str) -> list[dict[str, Any]]:
    """All rows of a table, given by its short name, in DynamoDB's JSON. Reads DynamoDB Local if a test uses it."""
    name = f"devflow-{STAGE}-{table}"
    if aws_requests.is_redirected("dynamodb"):
        pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]
    backend = dynamodb_backends[ACCOUNT][REGION]
    return [item.to_json()["Attributes"] for item in backend.tables[name].all_items()]


def mails() -> list[Message]:
    """The mails that SES was asked to send, each with `source`, `destinations`, `subject` and `body`."""
    return [sent for sent in ses_backends[ACCOUNT][REGION].sent_messages if isinstance(sent, Message)]


def messages(queue: str) -> list[str]:
    """The bodies of all messages of a queue, given by its short name, including those in flight."""
    backend = sqs_backends[ACCOUNT][REGION]
    return [str(message.body) for message in backend.queues[f"devflow-{STAGE}-{queue}"]._messages]
