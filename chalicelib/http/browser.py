"""Cookies, same-origin checks and redirects, for requests that browsers send.

Every cookie has the prefix `__Host-` (RFC 6265bis, section 4.1.3.2). A browser sends it only to this host and only over
HTTPS (or to http://localhost). Scripts cannot read it, and requests from pages of other sites do not include it.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from chalicelib.core.settings import settings
from chalicelib.http.requests import Request
from chalicelib.http.responses import RawBody, Response

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, section 9.2.1)."""


def cookie_header(name: str, value: str, seconds: int) -> str:
    """The value of a Set-Cookie header that stores a value for this number of seconds. 0 seconds delete the cookie."""
    return f"__Host-{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax"


def cookie_value(request: Request, name: str) -> str | None:
    """The value of a cookie of the platform. None if the browser did not send it."""
    for pair in "; ".join(request.header_values("cookie")).split(";"):
        key, _, value = pair.strip().partition("=")
        if key == f"__Host-{name}":
            return value
    return None


def base_url(request: Request) -> str:
    """The URL of the platform, without a trailing slash: DEVFLOW_URL, or the address at which API Gateway was called.

    A caller cannot forge the host, because API Gateway responds only at its own domain names. The part of the path
    before the resource is the stage, or the base path of a custom domain.
    """
    if settings.url:
        return settings.url
    context = request.event.get("requestContext") or {}
    parts = str(context.get("path") or "").rstrip("/").split("/")
    depth = str(context.get("resourcePath") or "").rstrip("/").count("/")
    return f"https://{context.get('domainName') or ''}" + "/".join(parts[: len(parts) - depth])


def absolute_path(request: Request, path: str) -> str:
    """The path that a browser requests for a path of the app: `/login` may be `/api/login` behind API Gateway."""
    return urlsplit(base_url(request)).path + path


def is_same_origin(request: Request) -> bool:
    """Whether a page of the platform sent this request, or its user opened the address directly in order to read it.

    If the request has Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) or Origin (RFC 6454), each of them must
    confirm this. A request that changes something needs at least one of them. Every browser sends one.
    """
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and origin not in _own_origins(request):
        return False
    if (request.event.get("requestContext") or {}).get("httpMethod") in _SAFE_METHODS:
        return fetch_site in (None, "same-origin", "none")
    return fetch_site == "same-origin" or (fetch_site is None and origin is not None)


def _own_origins(request: Request) -> set[str]:
    own, host = urlsplit(base_url(request)), request.headers.get("host", "")
    return {f"{own.scheme}://{own.netloc}", f"{own.scheme}://{host}"}


def redirect(location: str, cookies: Sequence[str] = ()) -> Response:
    """Redirect to a location (302, RFC 9110, section 15.4.3), and set these cookies."""
    headers: dict[str, str | list[str]] = {
        "Location": location,
        "Content-Type": "text/plain",
        "Cache-Control": "no-store",
    }
    if cookies:
        headers["Set-Cookie"] = list(cookies)
    return Response(RawBody(), 302, headers)
