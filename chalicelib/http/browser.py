"""What only browsers send and keep: cookies, where a request came from, and redirects.

A cookie here is always a `__Host-` one (RFC 6265bis, section 4.1.3.2): of this host alone, over HTTPS alone (browsers
take http://localhost for as good), for no script to read, and not sent along with what other sites' pages request.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from chalicelib.core.settings import settings
from chalicelib.http.requests import Request
from chalicelib.http.responses import RawBody, Response

_READING = ("GET", "HEAD", "OPTIONS")


def cookie_header(name: str, value: str, seconds: int) -> str:
    """The header Set-Cookie that keeps a value for so long; 0 seconds: that forgets it."""
    return f"__Host-{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax"


def cookie_value(request: Request, name: str) -> str | None:
    """The value of a cookie of ours; None where the browser sent none."""
    for pair in "; ".join(request.header_values("cookie")).split(";"):
        key, _, value = pair.strip().partition("=")
        if key == f"__Host-{name}":
            return value
    return None


def base_url(request: Request) -> str:
    """Where the platform is reached, without a trailing slash: what DEVFLOW_URL says, else as API Gateway was called.

    API Gateway answers under its own names alone, so nobody can make up the host; the stage, or what a custom domain
    puts before it, is what the path has before the resource.
    """
    if settings.url:
        return settings.url
    context = request.event.get("requestContext") or {}
    steps = str(context.get("path") or "").rstrip("/").split("/")
    depth = str(context.get("resourcePath") or "").rstrip("/").count("/")
    return f"https://{context.get('domainName') or ''}" + "/".join(steps[: len(steps) - depth])


def absolute_path(request: Request, below: str) -> str:
    """The path, as a browser asks for it, of something of ours: `/login` may be `/api/login` behind API Gateway."""
    return urlsplit(base_url(request)).path + below


def is_same_origin(request: Request) -> bool:
    """Whether a browser sent this on behalf of a page of ours, or reads at its user's own wish.

    Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) and Origin (RFC 6454) both have to say so, where they are
    sent; what changes something needs one of them, and every browser sends one.
    """
    origin, sent_by = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and origin not in _own_origins(request):
        return False
    if (request.event.get("requestContext") or {}).get("httpMethod") in _READING:
        return sent_by in (None, "same-origin", "none")
    return sent_by == "same-origin" or (sent_by is None and origin is not None)


def _own_origins(request: Request) -> set[str]:
    own, host = urlsplit(base_url(request)), request.headers.get("host", "")
    return {f"{own.scheme}://{own.netloc}", f"{own.scheme}://{host}"}


def redirect(location: str, cookies: Sequence[str] = ()) -> Response:
    """Go there (RFC 9110, section 15.4.3), and keep these cookies."""
    headers: dict[str, str | list[str]] = {
        "Location": location,
        "Content-Type": "text/plain",
        "Cache-Control": "no-store",
    }
    if cookies:
        headers["Set-Cookie"] = list(cookies)
    return Response(RawBody(), 302, headers)
