"""Responses, error responses and headers."""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from chalice.app import Response as ChaliceResponse
from pydantic import BaseModel
from pydantic_core import to_json

from chalicelib.core import errors
from chalicelib.core.errors import DevFlowError
from chalicelib.core.timestamps import iso
from chalicelib.http import rate_limits

STATUS_BY_ERROR: dict[type[DevFlowError], int] = {
    errors.TooLarge: 413,
    errors.UnsupportedContent: 415,
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.MethodNotAllowed: 405,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.WrongOffset: 416,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.DevFlowError: 500,
}
"""The status of each error. A class that is not listed has the status of its nearest base class."""

MAX_SHORT_WAIT = 3
"""The longest time in seconds that clients are asked to wait after a failure that may be over at once. Each gets a
different time, so that they do not retry in step."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class RawBody(str):
    """A body that is sent unchanged. The response declares its type in the header Content-Type."""

    __slots__ = ()


class Response(NamedTuple):
    """The response of a route.

    The body is a pydantic model or plain data, which is sent as JSON, or a `RawBody`. Without a status, the response
    has the status that the route declares. The headers replace default headers with the same name.
    """

    body: Any
    status: int | None = None
    headers: Mapping[str, str | list[str]] = MappingProxyType({})
    """A header that is sent more than once has a list of values."""


def status_for(error: type[DevFlowError]) -> int:
    return next(STATUS_BY_ERROR[kind] for kind in error.__mro__ if kind in STATUS_BY_ERROR)


def error_response(error: DevFlowError, now: int) -> Response:
    """The response for an error (specification, "All errors follow this format")."""
    status = status_for(type(error))
    body: dict[str, Any] = {
        "error": error.title,
        "message": error.message,
        "statusCode": status,
        "timestamp": iso(now),
    }
    if error.details is not None:
        body["details"] = error.details
    headers: dict[str, str | list[str]] = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after or random.randint(1, MAX_SHORT_WAIT))  # noqa: S311  # jitter
    elif isinstance(error, errors.WrongOffset):
        headers["Upload-Offset"] = str(error.expected_offset)
    elif isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    elif isinstance(error, errors.Unauthenticated):
        # RFC 9110, section 11.6.1. API Gateway renames it to x-amzn-Remapped-WWW-Authenticate, so it is not documented.
        headers["WWW-Authenticate"] = 'Bearer realm="devflow"'
    return Response(body, status, headers)


def to_chalice_response(response: Response, default_status: int = 200) -> ChaliceResponse:
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json", **response.headers}
    quota = rate_limits.current_quota.get()
    if quota is not None:
        headers["X-RateLimit-Limit"] = str(quota.limit)
        headers["X-RateLimit-Remaining"] = str(quota.remaining)
        headers["X-RateLimit-Reset"] = str(quota.reset)
    return ChaliceResponse(body=_to_text(response.body), status_code=response.status or default_status, headers=headers)


def _to_text(body: Any) -> str:
    if isinstance(body, RawBody):
        return str(body)
    return body.model_dump_json(by_alias=True) if isinstance(body, BaseModel) else to_json(body).decode()
