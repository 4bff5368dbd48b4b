"""chalicelib/http/requests.py: parsing and validation of requests. tests/http has tests of the whole app."""

import base64
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field

from chalicelib.core import errors
from chalicelib.core.models import InputModel, NonBlankText
from chalicelib.http import BODY_LIMIT, Request, RouteSpec, parse


class Order(InputModel):
    dish_name: NonBlankText
    how_many: Annotated[int, Field(ge=1)]
    remarks: Annotated[list[str], Field(default_factory=list)]


def make_request(raw: bytes = b"", content_type: str | None = "application/json", **headers: str) -> Request:
    all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        all_headers["content-type"] = content_type
    event = {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
    return Request(now=0, headers=all_headers, query={}, event=event)


VALID = b'{"dishName": "soup", "howMany": 2, "unknown": true}'


def test_body_is_parsed_and_unknown_fields_are_ignored() -> None:
    assert make_request(VALID).body(Order) == Order.model_construct(dish_name="soup", how_many=2, remarks=[])


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json ", "application/x+json"]
)
def test_json_content_types_are_accepted(content_type: str) -> None:
    assert make_request(VALID, content_type).body(Order).how_many == 2


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_body_without_json_content_type_is_rejected(content_type: str | None) -> None:
    with pytest.raises(errors.UnsupportedContent):
        make_request(VALID, content_type).body(Order)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"nonsense",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1,}',
        b"\xff\xfe",
        b'{"a": "\\ud8"}',
        b'{"a": "\\ud800", "b": ' + b"[" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    ],
)
def test_body_that_is_not_json_is_rejected(raw: bytes) -> None:
    with pytest.raises(errors.NotJson):
        make_request(raw).body(Order)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_json_that_is_not_an_object_is_rejected(raw: bytes) -> None:
    with pytest.raises(errors.Invalid, match="object"):
        make_request(raw).body(Order)


def test_integer_may_be_written_as_decimal_or_with_exponent() -> None:
    for how_many in (b"5", b"5.0", b"5e0", b"50E-1"):
        assert make_request(b'{"dishName": "soup", "howMany": ' + how_many + b"}").body(Order).how_many == 5
    for invalid in (b"5.5", b"-1.0", b"1e-9", b'"5.0"', b"[5.0]", b"true"):
        with pytest.raises(errors.Invalid):
            make_request(b'{"dishName": "soup", "howMany": ' + invalid + b"}").body(Order)


def test_missing_body_has_no_fields_and_blank_body_is_not_json() -> None:
    with pytest.raises(errors.MissingFields) as missing:
        make_request(b"", None).body(Order)
    assert missing.value.details == ["dishName", "howMany"]
    with pytest.raises(errors.NotJson):
        make_request(b" \r\n").body(Order)


def test_body_may_have_exactly_the_maximum_size() -> None:
    largest = VALID + b" " * (BODY_LIMIT - len(VALID))
    assert make_request(largest).body(Order).how_many == 2
    with pytest.raises(errors.TooLarge):
        make_request(largest + b" ").body(Order)
    spec = RouteSpec("POST", "/orders", "order", "Order", "public", body=Order, max_body_bytes=BODY_LIMIT + 1)
    assert replace(make_request(largest + b" "), route_spec=spec).body(Order).how_many == 2


def test_route_can_read_only_what_it_declares() -> None:
    spec = RouteSpec("POST", "/orders", "order", "Order", "public", body=Order)
    request = replace(make_request(VALID), route_spec=spec)
    assert request.body(Order).how_many == 2
    with pytest.raises(AssertionError, match="declares another body"):
        request.body(InputModel)
    with pytest.raises(AssertionError, match="declares another query"):
        request.query_params(Order)
    with pytest.raises(AssertionError, match="does not declare"):
        _ = request.idempotency_key


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ({"howMany": 2}, ["dishName"]),
        ({"dishName": None, "howMany": 2}, ["dishName"]),
        ({"dishName": " ", "howMany": None}, ["dishName", "howMany"]),
        ({"dish_name": "soup", "how_many": 2}, ["dishName", "howMany"]),
        ({"dishName": "", "howMany": 0}, ["dishName"]),
    ],
)
def test_required_field_that_is_absent_null_or_blank_is_missing(data: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(errors.MissingFields) as raised:
        parse(Order, data)
    assert raised.value.details == missing


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"dishName": "soup", "howMany": 0}, "howMany"),
        ({"dishName": "soup", "howMany": "many"}, "howMany"),
        ({"dishName": ["soup"], "howMany": 1}, "dishName"),
        ({"dishName": "soup", "howMany": 1, "remarks": ["hot", 5]}, "remarks.1"),
    ],
)
def test_details_name_invalid_field_with_reason(data: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Invalid) as raised:
        parse(Order, data)
    assert not isinstance(raised.value, errors.MissingFields)
    assert raised.value.details is not None
    assert raised.value.details[0].startswith(f"{field}: ")


def test_details_have_at_most_twenty_mistakes() -> None:
    with pytest.raises(errors.Invalid) as raised:
        parse(Order, {"dishName": "soup", "howMany": 1, "remarks": list(range(1_000))})
    assert len(raised.value.details or []) == 20


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ],
)
def test_bearer_token_is_read_from_authorization_header(authorization: str, token: str | None) -> None:
    assert make_request(authorization=authorization).bearer_token == token


def test_without_authorization_header_there_is_no_token() -> None:
    assert make_request().bearer_token is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\ud83d and \ud83d\ude00", "\ufffd and \U0001f600"),
        (rb"\\ud83d", r"\ud83d"),
    ],
)
def test_unpaired_surrogate_becomes_the_replacement_character(text: bytes, expected: str) -> None:
    """RFC 8259, section 8.2."""
    assert make_request(b'{"howMany": 1, "dishName": "' + text + b'"}').body(Order).dish_name == expected
