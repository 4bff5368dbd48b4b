"""The local gateway passes requests to an app and responses to clients, as API Gateway does."""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.gateway import BODY_LIMIT, MINIMUM_COMPRESSION_SIZE, Gateway


class Echo:
    """An app that responds with the event that it received."""

    routes: Mapping[str, Mapping[str, None]] = {
        "/": {"GET": None},
        "/things": {"GET": None, "POST": None},
        "/things/{thing}": {"GET": None},
        "/things/mine": {"POST": None},
        "/things/{thing}/parts/{part}": {"GET": None},
    }

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        assert context.get_remaining_time_in_millis() > 0
        return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event)}


class Fixed:
    """An app that returns a fixed result, or raises a fixed exception."""

    routes: Mapping[str, Mapping[str, None]] = {"/": {"GET": None}}

    def __init__(self, result: dict[str, Any] | Exception) -> None:
        self.result = result

    def __call__(self, *_: Any) -> dict[str, Any]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def event(method: str, target: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> Any:
    return Gateway(Echo()).call(method, target, headers, body).json()


@pytest.mark.parametrize(
    ("method", "path", "resource", "parameters"),
    [
        ("GET", "/", "/", None),
        ("GET", "/things", "/things", None),
        ("GET", "/things/", "/things", None),
        ("GET", "/things/1", "/things/{thing}", {"thing": "1"}),
        ("POST", "/things/mine", "/things/mine", None),
        ("GET", "/things/mine", "/things/{thing}", {"thing": "mine"}),
        ("GET", "/things/a%2Fb%20c/parts/%C3%A9", "/things/{thing}/parts/{part}", {"thing": "a/b c", "part": "é"}),
    ],
)
def test_path_matches_its_route_with_literal_segments_first(
    method: str, path: str, resource: str, parameters: Any
) -> None:
    received = event(method, path)
    assert (received["resource"], received["requestContext"]["resourcePath"]) == (resource, resource)
    assert received["pathParameters"] == parameters


@pytest.mark.parametrize("path", ["/nothing", "/things//parts/1", "/things/1/parts", "/things/1/parts/2/3"])
def test_unknown_path_reaches_the_app_unchanged(path: str) -> None:
    assert event("GET", path)["requestContext"]["resourcePath"] == path


def test_unsupported_method_reaches_the_app_with_its_route() -> None:
    received = event("DELETE", "/things/1")
    assert received["requestContext"]["resourcePath"] == "/things/{thing}"
    assert received["requestContext"]["httpMethod"] == received["httpMethod"] == "DELETE"


def test_absent_values_are_none() -> None:
    received = event("GET", "/things")
    absent = ("body", "multiValueQueryStringParameters", "pathParameters", "queryStringParameters")
    assert {name: received[name] for name in absent} == dict.fromkeys(absent)


def test_repeated_parameters_and_headers_are_passed_on() -> None:
    received = event("GET", "/things?a=1&a=2&b=%20x+y&c", (("X-A", "1"), ("X-A", "2"), ("Host", "h")))
    assert received["queryStringParameters"] == {"a": "2", "b": " x y", "c": ""}
    assert received["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [" x y"], "c": [""]}
    assert received["headers"] == {"X-A": "2", "Host": "h"}
    assert received["multiValueHeaders"] == {"X-A": ["1", "2"], "Host": ["h"]}


def test_client_address_is_in_the_context() -> None:
    response = Gateway(Echo()).call("GET", "/", source_ip="127.0.0.9")
    assert response.json()["requestContext"]["identity"]["sourceIp"] == "127.0.0.9"


def test_body_that_is_not_text_is_base64() -> None:
    text = event("POST", "/things", body="é".encode())
    assert (text["body"], text["isBase64Encoded"]) == ("é", False)
    other = event("POST", "/things", body=b"\xff\x00")
    assert (base64.b64decode(other["body"]), other["isBase64Encoded"]) == (b"\xff\x00", True)


def test_body_above_the_limit_is_rejected_with_413() -> None:
    response = Gateway(Echo()).call("POST", "/things", body=b" " * (BODY_LIMIT + 1))
    assert (response.status, response.json()["error"], response.json()["statusCode"]) == (413, "Request too large", 413)


def test_exception_of_the_app_is_a_502(capsys: pytest.CaptureFixture[str]) -> None:
    response = Gateway(Fixed(RuntimeError("secret"))).call("GET", "/")
    assert (response.status, response.json()["statusCode"]) == (502, 502)
    assert b"secret" not in response.body
    assert "RuntimeError: secret" in capsys.readouterr().err


def test_multi_value_headers_override_single_ones() -> None:
    result = {
        "statusCode": 204,
        "headers": {"Set-Cookie": "c=3", "X": "1"},
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
    }
    response = Gateway(Fixed(result)).call("GET", "/")
    assert response.headers == (("X", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))
    assert (response.status, response.body) == (204, b"")


@pytest.mark.parametrize("name", ["WWW-Authenticate", "www-authenticate"])
@pytest.mark.parametrize("kind", ["headers", "multiValueHeaders"])
def test_www_authenticate_is_renamed(name: str, kind: str) -> None:
    value = 'Bearer realm="devflow"'
    headers = {name: [value] if kind == "multiValueHeaders" else value}
    response = Gateway(Fixed({"statusCode": 401, kind: headers, "body": ""})).call("GET", "/")
    assert response.header("WWW-Authenticate") is None
    assert response.header("x-amzn-Remapped-WWW-Authenticate") == value


def test_binary_response_is_decoded() -> None:
    result = {"statusCode": 200, "body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True}
    assert Gateway(Fixed(result)).call("GET", "/").body == b"\xff"


LONG = "word " * 1_000


@pytest.mark.parametrize(
    ("accepted", "text", "encoding"),
    [
        ("gzip, deflate, br", LONG, "gzip"),
        ("GZIP", LONG, "gzip"),
        ("br", LONG, None),
        (None, LONG, None),
        ("gzip", "x" * (MINIMUM_COMPRESSION_SIZE - 1), None),
    ],
)
def test_long_response_is_compressed_if_the_client_accepts_it(
    accepted: str | None, text: str, encoding: str | None
) -> None:
    headers = () if accepted is None else (("Accept-Encoding", accepted),)
    response = Gateway(Fixed({"statusCode": 200, "headers": {}, "body": text})).call("GET", "/", headers)
    assert response.header("Content-Encoding") == encoding
    assert (gzip.decompress(response.body) if encoding else response.body) == text.encode()
    assert encoding is None or len(response.body) < MINIMUM_COMPRESSION_SIZE


def test_compression_starts_at_the_configured_size() -> None:
    config = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text(encoding="utf-8"))
    assert config["minimum_compression_size"] == MINIMUM_COMPRESSION_SIZE
