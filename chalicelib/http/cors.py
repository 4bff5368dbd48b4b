"""CORS: pages of other origins that may call the API (https://fetch.spec.whatwg.org/#http-cors-protocol).

A setting lists these origins. Their pages send a token in the header Authorization. No response allows credentials,
because the session cookie is only for pages of the platform. API Gateway passes every OPTIONS request to the app,
because its own response to OPTIONS supports only one origin.
"""

from collections.abc import Mapping, Sequence

from chalicelib.core.settings import settings
from chalicelib.http.responses import RawBody, Response

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-Id"
EXPOSED_HEADERS = (
    "Retry-After, Upload-Offset, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"
)
MAX_AGE = "7200"
"""Seconds for which a browser may cache a preflight response: the maximum of Chromium. That of Firefox is a day."""


def response_headers(origin: str) -> dict[str, str]:
    """The headers of a response to a page of this origin, which may be empty. They say whether the page may read it."""
    if not settings.cors_origins:
        return {}
    if origin not in settings.cors_origins:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    }


def preflight_response(request_headers: Mapping[str, str], methods: Sequence[str]) -> Response | None:
    """The response to a browser that asks whether a page may send a request. None if the origin is not allowed.

    `methods` are the methods that the path supports. The browser itself compares the method and the headers that it
    asked for with the allowed ones.
    """
    if (
        request_headers.get("origin") not in settings.cors_origins
        or "access-control-request-method" not in request_headers
    ):
        return None
    allowed = {
        "Content-Type": "text/plain",
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": MAX_AGE,
    }
    return Response(RawBody(), 204, allowed)
