"""The gateway's stand-in gives an app what API Gateway would, and its clients what the app answers."""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.gateway import BODY_LIMIT, COMPRESSED_FROM, Gateway


class Echo:
    """Answers with the event that it got."""

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
    """Answers what it is told, or raises it."""

    routes: Mapping[str, Mapping[str, None]] = {"/": {"GET": None}}

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    def __call__(self, *_: Any) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


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
def test_a_path_finds_its_route_literals_first_one_segment_a_capture(
    method: str, path: str, resource: str, parameters: Any
) -> None:
    got = event(method, path)
    assert (got["resource"], got["requestContext"]["resourcePath"]) == (resource, resource)
    assert got["pathParameters"] == parameters


@pytest.mark.parametrize("path", ["/nothing", "/things//parts/1", "/things/1/parts", "/things/1/parts/2/3"])
def test_a_path_of_no_route_reaches_the_app_as_it_is(path: str) -> None:
    assert event("GET", path)["requestContext"]["resourcePath"] == path


def test_a_method_that_a_path_does_not_have_reaches_the_app_under_its_route() -> None:
    got = event("DELETE", "/things/1")
    assert got["requestContext"]["resourcePath"] == "/things/{thing}"
    assert got["requestContext"]["httpMethod"] == got["httpMethod"] == "DELETE"


def test_what_is_absent_is_none() -> None:
    got = event("GET", "/things")
    absent = ("body", "multiValueQueryStringParameters", "pathParameters", "queryStringParameters")
    assert {name: got[name] for name in absent} == dict.fromkeys(absent)


def test_parameters_and_headers_come_once_and_as_often_as_they_were_sent() -> None:
    got = event("GET", "/things?a=1&a=2&b=%20x+y&c", (("X-A", "1"), ("X-A", "2"), ("Host", "h")))
    assert got["queryStringParameters"] == {"a": "2", "b": " x y", "c": ""}
    assert got["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [" x y"], "c": [""]}
    assert got["headers"] == {"X-A": "2", "Host": "h"}
    assert got["multiValueHeaders"] == {"X-A": ["1", "2"], "Host": ["h"]}


def test_the_clients_address_is_in_the_context() -> None:
    response = Gateway(Echo()).call("GET", "/", source_ip="127.0.0.9")
    assert response.json()["requestContext"]["identity"]["sourceIp"] == "127.0.0.9"


def test_a_body_is_text_where_it_can_be_and_base64_where_not() -> None:
    text = event("POST", "/things", body="é".encode())
    assert (text["body"], text["isBase64Encoded"]) == ("é", False)
    other = event("POST", "/things", body=b"\xff\x00")
    assert (base64.b64decode(other["body"]), other["isBase64Encoded"]) == (b"\xff\x00", True)


def test_a_body_that_api_gateway_would_not_take_is_a_413() -> None:
    response = Gateway(Echo()).call("POST", "/things", body=b" " * (BODY_LIMIT + 1))
    assert (response.status, response.json()["error"], response.json()["statusCode"]) == (413, "Request too large", 413)


def test_an_app_that_raises_is_a_502(capsys: pytest.CaptureFixture[str]) -> None:
    response = Gateway(Fixed(RuntimeError("secret"))).call("GET", "/")
    assert (response.status, response.json()["statusCode"]) == (502, 502)
    assert b"secret" not in response.body
    assert "RuntimeError: secret" in capsys.readouterr().err


def test_multi_value_headers_win_over_single_ones() -> None:
    answer = {
        "statusCode": 204,
        "headers": {"Set-Cookie": "c=3", "X": "1"},
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
    }
    response = Gateway(Fixed(answer)).call("GET", "/")
    assert response.headers == (("X", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))
    assert (response.status, response.body) == (204, b"")


def test_a_binary_answer_is_decoded() -> None:
    answer = {"statusCode": 200, "body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True}
    assert Gateway(Fixed(answer)).call("GET", "/").body == b"\xff"


LONG = "word " * 1_000


@pytest.mark.parametrize(
    ("accepted", "text", "encoding"),
    [
        ("gzip, deflate, br", LONG, "gzip"),
        ("GZIP", LONG, "gzip"),
        ("br", LONG, None),
        (None, LONG, None),
        ("gzip", "x" * (COMPRESSED_FROM - 1), None),
    ],
)
def test_a_long_answer_is_compressed_for_who_takes_it(accepted: str | None, text: str, encoding: str | None) -> None:
    headers = () if accepted is None else (("Accept-Encoding", accepted),)
    answer = Gateway(Fixed({"statusCode": 200, "headers": {}, "body": text})).call("GET", "/", headers)
    assert answer.header("Content-Encoding") == encoding
    assert (gzip.decompress(answer.body) if encoding else answer.body) == text.encode()
    assert encoding is None or len(answer.body) < COMPRESSED_FROM


def test_it_compresses_as_the_deployed_gateway_is_told_to() -> None:
    config = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text(encoding="utf-8"))
    assert config["minimum_compression_size"] == COMPRESSED_FROM
