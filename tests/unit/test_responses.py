"""chalicelib/http/responses.py and chalicelib/core/errors.py: statuses, titles and responses of errors."""

import inspect

import pytest

from chalicelib.core import errors
from chalicelib.core.errors import DevFlowError
from chalicelib.http import error_response, status_for

NOW = 1_763_938_000_000

ALL_ERRORS = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, DevFlowError)]


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
def test_error_has_its_status(kind: type[DevFlowError], status: int) -> None:
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
def test_titles_are_those_of_the_specification(error: DevFlowError, title: str) -> None:
    assert error_response(error, NOW).body["error"] == title


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_every_error_has_a_title_and_a_default_message(kind: type[DevFlowError]) -> None:
    assert kind.title
    assert (kind.__doc__ or "").strip()


def test_error_response_has_four_fields() -> None:
    response = error_response(errors.TaskNotFound(), NOW)
    assert response.status == 404
    assert response.body == {
        "error": "Task not found",
        "message": "You have no task with this id. GET /api/tasks lists your tasks.",
        "statusCode": 404,
        "timestamp": "2025-11-23T22:46:40Z",
    }


def test_missing_fields_are_named_in_details() -> None:
    assert error_response(errors.MissingFields(["agentId", "name"]), NOW).body["details"] == ["agentId", "name"]


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.RateLimited("Slower", retry_after=17), "Retry-After", "17"),
        (errors.Unavailable(retry_after=4), "Retry-After", "4"),
        (errors.MethodNotAllowed(["POST", "GET"]), "Allow", "GET, POST"),
        (errors.Unauthenticated(), "WWW-Authenticate", 'Bearer realm="devflow"'),
        (errors.AgentTokenInvalid(), "WWW-Authenticate", 'Bearer realm="devflow"'),
        (errors.WrongOffset(12), "Upload-Offset", "12"),
    ],
)
def test_error_response_has_header_for_programs(error: DevFlowError, header: str, value: str) -> None:
    assert error_response(error, NOW).headers[header] == value
