"""chalicelib/dynamodb/client.py: requests and responses pass unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pynamodb.exceptions import VerboseClientError

from chalicelib.core.settings import VERSION
from chalicelib.dynamodb import client
from chalicelib.dynamodb.client import connection
from chalicelib.dynamodb.retries import error_code
from chalicelib.tasks import tables
from tests.support import aws_requests

KEY = {"pk": {"S": "p"}, "sk": {"S": "s"}}
ODD = {
    "text": {"S": 'äöü \U0001f600 "quoted" \\ \n \u2028'},
    "number": {"N": "-12345678901234567890.5"},
    "flag": {"BOOL": False},
    "nothing": {"NULL": True},
    "map": {"M": {"": {"S": "an empty name"}, "deep": {"M": {"list": {"L": [{"N": "0"}, {"L": []}, {"M": {}}]}}}}},
    "set": {"SS": ["a", "b"]},
}


@pytest.fixture(autouse=True)
def _tables(aws: None) -> None:
    """Empty tables before every test."""


@contextmanager
def at_event(name: str) -> Iterator[list[dict[str, Any]]]:
    """Record the arguments that botocore passes at one of its events, after the product's own handler has run."""
    recorded: list[dict[str, Any]] = []
    events = connection.client.meta.events

    def handler(**arguments: Any) -> None:
        recorded.append(arguments)

    events.register_last(name, handler)
    try:
        yield recorded
    finally:
        events.unregister(name, handler)


def test_request_is_sent_unchanged() -> None:
    request = {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD, "ReturnConsumedCapacity": "NONE"}
    with aws_requests.recorded() as sent:
        connection.dispatch("PutItem", dict(request))
    assert sent[0].params | {"ReturnConsumedCapacity": "NONE"} == request


def test_response_is_returned_unchanged() -> None:
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    response = connection.dispatch("GetItem", {"TableName": tables.TASKS_TABLE, "Key": KEY, "ConsistentRead": True})
    assert response["Item"] == KEY | ODD


def test_botocore_parses_neither_the_request_nor_the_response() -> None:
    """Otherwise a call would take twice as long, and no other test would notice."""
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    with at_event("before-parse.dynamodb.GetItem") as parsed, at_event("before-parameter-build.dynamodb") as built:
        connection.dispatch("GetItem", {"TableName": tables.TASKS_TABLE, "Key": KEY})
    assert [arguments["response_dict"]["body"] for arguments in parsed] == [b""]
    assert [arguments["params"]["Key"] for arguments in built] == [{}]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://dynamodb.eu-central-1.amazonaws.com/", "dynamodb.eu-central-1.amazonaws.com"),
        ("https://dynamodb.example.com:443", "dynamodb.example.com"),
        ("https://dynamodb.example.com:8443/", "dynamodb.example.com:8443"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://[::1]:4566/", "[::1]:4566"),
    ],
)
def test_host_header_is_the_one_that_botocore_signs(address: str, host: str) -> None:
    signed: Any = SigV4Auth(Credentials("id", "secret"), "dynamodb", "eu-central-1").headers_to_sign(
        AWSRequest("POST", address)
    )
    assert client._host_header(address) == signed["host"] == host


def test_error_has_its_code_and_its_item() -> None:
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    request = {
        "TableName": tables.TASKS_TABLE,
        "Key": KEY,
        "UpdateExpression": "SET #0 = :0",
        "ConditionExpression": "attribute_not_exists (pk)",
        "ExpressionAttributeNames": {"#0": "text"},
        "ExpressionAttributeValues": {":0": {"S": "new"}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(VerboseClientError) as failure:
        connection.dispatch("UpdateItem", request)
    assert error_code(failure.value) == "ConditionalCheckFailedException"
    cause: Any = failure.value.__cause__
    assert cause.response["Item"] == KEY | ODD


def test_client_sends_a_short_user_agent() -> None:
    config: Any = connection.client.meta.config
    assert config.user_agent == f"devflow/{VERSION}"


def test_request_with_retries_ends_before_api_gateways_timeout() -> None:
    config: Any = connection.client.meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) <= 15
