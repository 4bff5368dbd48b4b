"""HTTP, once for all routes: the error contract, parsing, headers, and one log line a request.

A route is a function from a `Call` to an `Answer`. Whatever it raises becomes the contract's
`{"error", "message", "statusCode", "timestamp"}` (plus `details` where there are any); so does everything that goes
wrong before a route is reached, which is why `App` stands around Chalice's own dispatch.
"""

from chalicelib.http.answers import Answer, failure, status_of
from chalicelib.http.app import App, route
from chalicelib.http.calls import BODY_LIMIT, REPORT_LIMIT, Call, parsed

__all__ = ["BODY_LIMIT", "REPORT_LIMIT", "Answer", "App", "Call", "failure", "parsed", "route", "status_of"]
