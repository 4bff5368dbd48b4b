"""HTTP, once for all routes: the error contract, parsing, headers, and one log line a request.

A route is a function from a `Call` to an `Answer`, and declares what it takes and gives (`Declared`). Whatever it
raises becomes the contract's `{"error", "message", "statusCode", "timestamp"}` (plus `details` where there are any);
so does everything that goes wrong before a route is reached, which is why `App` stands around Chalice's own dispatch.
"""

from chalicelib.http.answers import Answer, Text, failure, status_of
from chalicelib.http.app import App
from chalicelib.http.calls import Call, parsed
from chalicelib.http.declared import BODY_LIMIT, REPORT_LIMIT, Declared, Who, declared_by
from chalicelib.http.routing import route

__all__ = [
    "BODY_LIMIT",
    "REPORT_LIMIT",
    "Answer",
    "App",
    "Call",
    "Declared",
    "Text",
    "Who",
    "declared_by",
    "failure",
    "parsed",
    "route",
    "status_of",
]
