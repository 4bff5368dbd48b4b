"""chalicelib/dynamodb/client.py: requests and responses pass unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from botocore.regions import EndpointRulesetResolver
from pynamodb.exceptions import VerboseClientError
from urllib3 import HTTPResponse

from chalicelib.aws import session
from chalicelib.aws.tries import DEPLOYED, TIMEOUTS, error_code
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import VERSION
from chalicelib.dynamodb import client, retries
from chalicelib.dynamodb.client import connection
from chalicelib.tasks import tables
from tests.support import aws_requests
from tests.support.virtual_aws import VirtualAws

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


def test_endpoint_is_resolved_once_for_each_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a call would take a twelfth longer, and no other test would notice."""
    resolved = []
    construct = EndpointRulesetResolver.construct_endpoint

    def count(self: EndpointRulesetResolver, **arguments: Any) -> Any:
        resolved.append(arguments["operation_model"].name)
        return construct(self, **arguments)

    monkeypatch.setattr(EndpointRulesetResolver, "construct_endpoint", count)
    monkeypatch.setattr(connection, "_client", None)
    for _ in range(3):
        connection.dispatch("GetItem", {"TableName": tables.TASKS_TABLE, "Key": KEY})
    assert resolved == ["GetItem"]


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("eu-central-1", "https://dynamodb.eu-central-1.amazonaws.com/"),
        ("cn-north-1", "https://dynamodb.cn-north-1.amazonaws.com.cn/"),
        ("us-gov-west-1", "https://dynamodb.us-gov-west-1.amazonaws.com/"),
    ],
)
def test_every_request_goes_to_the_region_and_is_signed_for_it(region: str, address: str) -> None:
    dynamodb: Any = session.botocore_session().create_client(
        "dynamodb", region_name=region, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    sent: list[Any] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(BytesIO(b"{}"), preload_content=False))

    dynamodb.meta.events.register_first("before-send.dynamodb", answer)
    for _ in range(2):
        dynamodb.get_item(TableName="t", Key=KEY)
    assert [request.url for request in sent] == [address] * 2
    assert all(f"/{region}/dynamodb/aws4_request" in str(request.headers["Authorization"]) for request in sent)


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


def test_client_sends_a_request_once_because_aws_tries_retries() -> None:
    config: Any = connection.client.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout) == (TIMEOUTS.connect, TIMEOUTS.item)


@pytest.mark.parametrize(
    ("operation", "request_", "seconds"),
    [
        ("GetItem", {"Key": KEY}, DEPLOYED.item),
        (
            "Query",
            {"KeyConditionExpression": "pk = :0", "ExpressionAttributeValues": {":0": {"S": "p"}}},
            DEPLOYED.data,
        ),
    ],
)
def test_request_has_the_read_timeout_of_its_operation(
    operation: str, request_: dict[str, Any], seconds: float
) -> None:
    with VirtualAws(latency=60.0).install() as aws, pytest.raises(Unavailable):
        retries.send(operation, {"TableName": tables.TASKS_TABLE} | request_, tables.TASKS_TABLE, probe=True)
    assert aws.now == pytest.approx(seconds)
