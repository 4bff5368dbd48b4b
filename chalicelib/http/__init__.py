"""HTTP, once for all routes: the error contract, parsing, headers, and one log line a request.

A route is a function from a `Call` to an `Answer`, and declares what it takes and gives (`Declared`). Whatever it
raises becomes the contract's `{"error", "message", "statusCode", "timestamp"}` (plus `details` where there are any);
so does everything that goes wrong before a route is reached, which is why `App` stands around Chalice's own dispatch.
"""

from chalicelib.http.app import App
from chalicelib.http.requests import Request, parse
from chalicelib.http.responses import RawBody, Response, error_response, status_for
from chalicelib.http.route_spec import BODY_LIMIT, REPORT_LIMIT, Access, RouteSpec, route_specs
from chalicelib.http.routing import route

__all__ = [
    "BODY_LIMIT",
    "REPORT_LIMIT",
    "Access",
    "App",
    "RawBody",
    "Request",
    "Response",
    "RouteSpec",
    "error_response",
    "parse",
    "route",
    "route_specs",
    "status_for",
]
