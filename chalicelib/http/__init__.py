"""HTTP for all routes: error responses, parsing, headers, and one log line per request.

A route is a function from a `Request` to a `Response`. Its `RouteSpec` declares what it accepts and returns. Every
error becomes a response with `{"error", "message", "statusCode", "timestamp"}`, and `details` if there are any. `App`
wraps the dispatch of Chalice, so this also applies to errors that occur before a route is called.
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
