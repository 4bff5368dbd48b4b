"""Compares every response of the app in every test with what its route declares."""

import json
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any

from chalicelib.http import RouteSpec, route_specs, status_for


class ContractCheckedApp:
    """The app. `violations` collects each response that its route does not declare."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.routes = app.routes
        self.violations: set[str] = set()
        self._declared = {(route.method, route.path): route for route in route_specs(app.routes)}

    def __call__(self, event: Any, context: Any) -> Any:
        # In its own context: a call that a test makes between two AWS requests of another call must not change the
        # other call's rate limit count.
        response = copy_context().run(self._app, event, context)
        request = event["requestContext"]
        route = self._declared.get((request["httpMethod"], request["resourcePath"]))
        if route is not None:
            self.violations |= {f"{route.method} {route.path} {what}" for what in differences(route, response)}
        return response


def differences(route: RouteSpec, response: Mapping[str, Any]) -> set[str]:
    """The differences between a response and the declaration of its route: in the status, error title or limit."""
    status, limit = int(response["statusCode"]), response["headers"].get("X-RateLimit-Limit")
    found: set[str] = set()
    if status == 304:
        return found  # it refers to the successful response that the client already has
    if status >= 400:
        is_json = response["headers"]["Content-Type"] == "application/json"
        title = json.loads(response["body"])["error"] if is_json else None
        if title is not None and (status, title) not in declared_errors(route):
            found.add(f"returns {status} {title!r}")
        if status not in {declared for declared, _ in declared_errors(route)}:
            found.add(f"returns {status}")
    elif status != route.status:
        found.add(f"returns {status} instead of {route.status}")
    elif route.rate_limits and limit is None and status < 300:  # a redirect may be the result of a failed count
        found.add("lacks the headers of its rate limit")
    if limit is not None and int(limit) not in {rate_limit.limit for rate_limit in route.rate_limits}:
        found.add(f"has an undeclared rate limit of {limit}")
    return found


def declared_errors(route: RouteSpec) -> set[tuple[int, str]]:
    """Statuses and titles of the errors that a route may return."""
    return {(status_for(error), error.title) for error in route.possible_errors()}
