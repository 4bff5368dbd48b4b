"""Pages of other origins that may call the API (https://fetch.spec.whatwg.org/#http-cors-protocol): those in a setting.

They call with a token in the header Authorization. Cookies are none of it: a browser's session is for our own pages,
so no answer allows credentials. API Gateway hands every OPTIONS to us (its own answer to one knows one origin).
"""

from collections.abc import Mapping, Sequence

from chalicelib.core.settings import settings
from chalicelib.http.responses import RawBody, Response

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-Id"
EXPOSED_HEADERS = (
    "Retry-After, Upload-Offset, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"
)
MAX_AGE = "7200"
"""For so many seconds a browser need not ask again; Chromium's cap, Firefox's is a day."""


def response_headers(origin: str) -> dict[str, str]:
    """What an answer carries for a page of this origin (empty where none called): whether it may be read there."""
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
    """The answer to a browser that asks whether a page may call; None where that page's origin may not.

    `asked` are the request's headers, `methods` what the address takes. That a browser may ask for another method, or
    other headers, than are allowed is its own business: it compares.
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
