"""Holds every answer that any test gets from the app against what its route declares."""

import json
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any

from chalicelib.http import RouteSpec, route_specs, status_for


class AsDeclared:
    """The app; whatever one of its routes answers and does not declare is noted in `broken`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.routes = app.routes
        self.broken: set[str] = set()
        self._declared = {(route.method, route.path): route for route in route_specs(app.routes)}

    def __call__(self, event: Any, context: Any) -> Any:
        # A call that comes between another one's requests to AWS leaves that one's count of calls as it is.
        answer = copy_context().run(self._app, event, context)
        asked = event["requestContext"]
        route = self._declared.get((asked["httpMethod"], asked["resourcePath"]))
        if route is not None:
            self.broken |= {f"{route.method} {route.path} {what}" for what in differences(route, answer)}
        return answer


def differences(route: RouteSpec, answer: Mapping[str, Any]) -> set[str]:
    """What an answer says that its route does not declare: another status, title or limit."""
    status, limit = int(answer["statusCode"]), answer["headers"].get("X-RateLimit-Limit")
    found: set[str] = set()
    if status == 304:
        return found  # stands for the success that the client has already
    if status >= 400:
        title = json.loads(answer["body"])["error"] if answer["headers"]["Content-Type"] == "application/json" else None
        if title is not None and (status, title) not in refusals(route):
            found.add(f"answers {status} {title!r}")
        if status not in {declared for declared, _ in refusals(route)}:
            found.add(f"answers {status}")
    elif status != route.status:
        found.add(f"answers {status} and not {route.status}")
    elif route.rate_limits and limit is None and status < 300:  # a redirect may be what comes of a count that failed
        found.add("does not say what is left of its limit")
    if limit is not None and int(limit) not in {meter.limit for meter in route.rate_limits}:
        found.add(f"counts on a limit of {limit}")
    return found


def refusals(route: RouteSpec) -> set[tuple[int, str]]:
    """Statuses and titles of the errors that a route may answer with."""
    return {(status_for(error), error.title) for error in route.possible_errors()}
