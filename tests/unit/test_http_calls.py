"""chalicelib/http: what a request is taken for, and how an error is told. The whole way is in tests/http."""

import base64
import inspect
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field

from chalicelib.core import errors
from chalicelib.core.errors import DevFlowError
from chalicelib.core.models import InputModel, NonBlankText
from chalicelib.http import BODY_LIMIT, Request, RouteSpec, error_response, parse, status_for

NOW = 1_763_938_000_000


class Order(InputModel):
    dish_name: NonBlankText
    how_many: Annotated[int, Field(ge=1)]
    remarks: Annotated[list[str], Field(default_factory=list)]


def call(raw: bytes = b"", content_type: str | None = "application/json", **headers: str) -> Request:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    event = {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
    return Request(now=NOW, headers=sent, query={}, event=event)


GOOD = b'{"dishName": "soup", "howMany": 2, "unknown": true}'


def test_a_body_becomes_what_was_asked_for_and_unknown_fields_are_ignored() -> None:
    assert call(GOOD).body(Order) == Order.model_construct(dish_name="soup", how_many=2, remarks=[])


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json ", "application/x+json"]
)
def test_json_may_call_itself_json_in_several_ways(content_type: str) -> None:
    assert call(GOOD, content_type).body(Order).how_many == 2


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_body_that_does_not_say_that_it_is_json_is_not_guessed_at(content_type: str | None) -> None:
    with pytest.raises(errors.UnsupportedContent):
        call(GOOD, content_type).body(Order)


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
def test_what_is_not_json_says_so(raw: bytes) -> None:
    with pytest.raises(errors.NotJson):
        call(raw).body(Order)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_json_that_is_no_object_says_so(raw: bytes) -> None:
    with pytest.raises(errors.Invalid, match="object"):
        call(raw).body(Order)


def test_a_whole_number_is_one_however_it_is_written() -> None:
    for many in (b"5", b"5.0", b"5e0", b"50E-1"):
        assert call(b'{"dishName": "soup", "howMany": ' + many + b"}").body(Order).how_many == 5
    for none in (b"5.5", b"-1.0", b"1e-9", b'"5.0"', b"[5.0]", b"true"):
        with pytest.raises(errors.Invalid):
            call(b'{"dishName": "soup", "howMany": ' + none + b"}").body(Order)


def test_no_body_is_one_without_fields_and_a_blank_one_is_no_json() -> None:
    with pytest.raises(errors.MissingFields) as missing:
        call(b"", None).body(Order)
    assert missing.value.details == ["dishName", "howMany"]
    with pytest.raises(errors.NotJson):
        call(b" \r\n").body(Order)


def test_a_body_may_be_as_large_as_its_limit_and_not_a_byte_larger() -> None:
    fitting = GOOD + b" " * (BODY_LIMIT - len(GOOD))
    assert call(fitting).body(Order).how_many == 2
    with pytest.raises(errors.TooLarge):
        call(fitting + b" ").body(Order)
    roomy = RouteSpec("POST", "/orders", "order", "Order", "public", body=Order, max_body_bytes=BODY_LIMIT + 1)
    assert replace(call(fitting + b" "), route_spec=roomy).body(Order).how_many == 2


def test_a_route_takes_what_it_declares_and_nothing_else() -> None:
    told = replace(call(GOOD), route_spec=RouteSpec("POST", "/orders", "order", "Order", "public", body=Order))
    assert told.body(Order).how_many == 2
    with pytest.raises(AssertionError, match="declares"):
        told.body(InputModel)
    with pytest.raises(AssertionError, match="declares"):
        told.query_params(Order)
    with pytest.raises(AssertionError, match="declares"):
        _ = told.idempotency_key


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
def test_a_required_field_that_is_absent_null_or_blank_is_missing(data: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(errors.MissingFields) as refused:
        parse(Order, data)
    assert refused.value.details == missing


@pytest.mark.parametrize(
    ("data", "about"),
    [
        ({"dishName": "soup", "howMany": 0}, "howMany"),
        ({"dishName": "soup", "howMany": "many"}, "howMany"),
        ({"dishName": ["soup"], "howMany": 1}, "dishName"),
        ({"dishName": "soup", "howMany": 1, "remarks": ["hot", 5]}, "remarks.1"),
    ],
)
def test_a_field_that_cannot_be_meant_is_named_with_the_reason(data: dict[str, Any], about: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        parse(Order, data)
    assert not isinstance(refused.value, errors.MissingFields)
    assert refused.value.details is not None
    assert refused.value.details[0].startswith(f"{about}: ")


def test_a_thousand_mistakes_are_answered_with_the_first_twenty() -> None:
    with pytest.raises(errors.Invalid) as refused:
        parse(Order, {"dishName": "soup", "howMany": 1, "remarks": list(range(1_000))})
    assert len(refused.value.details or []) == 20


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
def test_the_bearer_token(authorization: str, token: str | None) -> None:
    assert call(authorization=authorization).bearer_token == token


def test_without_the_header_there_is_no_token() -> None:
    assert call().bearer_token is None


EVERY_ERROR = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, DevFlowError)]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Invalid, 400),
        (errors.MissingFields, 400),
        (errors.ProgressOutOfRange, 400),
        (errors.NotJson, 400),
        (errors.Unauthenticated, 401),
        (errors.AgentTokenInvalid, 401),
        (errors.Forbidden, 403),
        (errors.TaskNotFound, 404),
        (errors.AgentNotFound, 404),
        (errors.RouteNotFound, 404),
        (errors.MethodNotAllowed, 405),
        (errors.AgentExists, 409),
        (errors.Conflict, 409),
        (errors.TooLarge, 413),
        (errors.UnsupportedContent, 415),
        (errors.WrongOffset, 416),
        (errors.RateLimited, 429),
        (errors.DevFlowError, 500),
        (errors.Unavailable, 503),
    ],
)
def test_each_error_has_its_status(kind: type[DevFlowError], status: int) -> None:
    assert status_for(kind) == status


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (errors.MissingFields(["x"]), "Missing required fields"),
        (errors.Unauthenticated(), "Invalid or expired token"),
        (errors.AgentTokenInvalid(), "Agent token expired or invalid"),
        (errors.AgentExists(), "Agent with this ID already exists for user"),
        (errors.AgentNotFound(), "Agent not found"),
        (errors.TaskNotFound(), "Task not found"),
        (errors.ProgressOutOfRange(), "Progress must be between 0 and 1"),
    ],
)
def test_titles_are_the_specs_to_the_letter(error: DevFlowError, title: str) -> None:
    assert error_response(error, NOW).body["error"] == title


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_says_something_to_people(kind: type[DevFlowError]) -> None:
    assert kind.title
    assert (kind.__doc__ or "").strip()


def test_an_error_has_the_four_fields_of_the_contract() -> None:
    answer = error_response(errors.TaskNotFound(), NOW)
    assert answer.status == 404
    assert answer.body == {
        "error": "Task not found",
        "message": "You have no task with this id.",
        "statusCode": 404,
        "timestamp": "2025-11-23T22:46:40Z",
    }


def test_details_are_there_where_the_spec_has_them() -> None:
    assert error_response(errors.MissingFields(["agentId", "name"]), NOW).body["details"] == ["agentId", "name"]


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.RateLimited("Slower", retry_after=17), "Retry-After", "17"),
        (errors.Unavailable(), "Retry-After", "1"),
        (errors.MethodNotAllowed(["POST", "GET"]), "Allow", "GET, POST"),
        (errors.Unauthenticated(), "WWW-Authenticate", 'Bearer realm="devflow"'),
        (errors.AgentTokenInvalid(), "WWW-Authenticate", 'Bearer realm="devflow"'),
        (errors.WrongOffset(12), "Upload-Offset", "12"),
    ],
)
def test_what_a_program_needs_to_go_on_is_in_a_header(error: DevFlowError, header: str, value: str) -> None:
    assert error_response(error, NOW).headers[header] == value


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\ud83d and \ud83d\ude00", "\ufffd and \U0001f600"),
        (rb"\\ud83d", r"\ud83d"),
    ],
)
def test_half_of_a_surrogate_pair_is_json_and_kept_as_the_replacement_character(text: bytes, kept: str) -> None:
    """RFC 8259, section 8.2."""
    assert call(b'{"howMany": 1, "dishName": "' + text + b'"}').body(Order).dish_name == kept
