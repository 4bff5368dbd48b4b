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
from tests.support import wire

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
    """Every test begins with empty tables."""


@contextmanager
def at_event(name: str) -> Iterator[list[dict[str, Any]]]:
    """What botocore hands over at one of its events, after our own handler was there."""
    seen: list[dict[str, Any]] = []
    events = connection.client.meta.events

    def handler(**given: Any) -> None:
        seen.append(given)

    events.register_last(name, handler)
    try:
        yield seen
    finally:
        events.unregister(name, handler)


def test_a_request_says_what_was_asked_for() -> None:
    asked = {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD, "ReturnConsumedCapacity": "NONE"}
    with wire.recorded() as sent:
        connection.dispatch("PutItem", dict(asked))
    assert sent[0].params | {"ReturnConsumedCapacity": "NONE"} == asked


def test_an_answer_is_read_as_it_was_given() -> None:
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    answer = connection.dispatch("GetItem", {"TableName": tables.TASKS_TABLE, "Key": KEY, "ConsistentRead": True})
    assert answer["Item"] == KEY | ODD


def test_botocore_walks_through_neither_the_request_nor_the_answer() -> None:
    """Or half of the time of a call would be gone, and no other test would notice."""
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    with at_event("before-parse.dynamodb.GetItem") as parsed, at_event("before-parameter-build.dynamodb") as built:
        connection.dispatch("GetItem", {"TableName": tables.TASKS_TABLE, "Key": KEY})
    assert [given["response_dict"]["body"] for given in parsed] == [b""]
    assert [given["params"]["Key"] for given in built] == [{}]


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
def test_a_request_says_where_it_goes_as_botocore_would_sign_it(address: str, host: str) -> None:
    signed: Any = SigV4Auth(Credentials("id", "secret"), "dynamodb", "eu-central-1").headers_to_sign(
        AWSRequest("POST", address)
    )
    assert client._host_header(address) == signed["host"] == host


def test_an_error_is_told_by_its_type_and_with_its_item() -> None:
    connection.dispatch("PutItem", {"TableName": tables.TASKS_TABLE, "Item": KEY | ODD})
    refused = {
        "TableName": tables.TASKS_TABLE,
        "Key": KEY,
        "UpdateExpression": "SET #0 = :0",
        "ConditionExpression": "attribute_not_exists (pk)",
        "ExpressionAttributeNames": {"#0": "text"},
        "ExpressionAttributeValues": {":0": {"S": "new"}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(VerboseClientError) as failure:
        connection.dispatch("UpdateItem", refused)
    assert error_code(failure.value) == "ConditionalCheckFailedException"
    cause: Any = failure.value.__cause__
    assert cause.response["Item"] == KEY | ODD


def test_the_client_says_who_it_is_in_few_words() -> None:
    config: Any = connection.client.meta.config
    assert config.user_agent == f"devflow/{VERSION}"


def test_no_request_can_outlast_api_gateways_29_seconds() -> None:
    config: Any = connection.client.meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) <= 15
