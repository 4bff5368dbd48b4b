"""The declarations of a route: who may call it, what it accepts and returns, and which errors it may raise.

The guard and the parsing of a route read these declarations. So do the OpenAPI document and the tests of all routes.
Nothing is computed from them before it is needed.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from chalicelib.core import errors
from chalicelib.core.errors import DevFlowError
from chalicelib.core.settings import KB
from chalicelib.http.rate_limits import RateLimit

BODY_LIMIT = 256 * KB
REPORT_LIMIT = 1024 * KB

Access = Literal["user", "session", "registration", "agent", "authenticated", "public"]
"""Who may call a route.

- `user`: a user's token; an agent's token gets 403.
- `session`: a user's token from a login; a personal token or an agent's token gets 403.
- `registration`: a user's token, or a registration token; an agent's token gets 403.
- `agent`: the agent in the path, or its user.
- `authenticated`: any valid token of a user or an agent.
- `public`: no token is needed.

A registration token gets 403 wherever it is not named.
"""


class RouteSpec(NamedTuple):
    """The declarations of one route. `response` is the model of a successful response, None if that is not JSON."""

    method: str
    path: str
    name: str
    summary: str
    access: Access
    rate_limits: tuple[RateLimit, ...] = ()
    """The first counts the calls of users, the last those of agents. Empty: calls are not counted."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    max_body_bytes: int = BODY_LIMIT
    """The maximum size of the body, in bytes."""
    idempotency_key: bool = False
    """Whether the route supports the header Idempotency-Key."""
    response: type[BaseModel] | None = None
    media_type: str | None = None
    """The media type of a successful response that is not JSON. None if it is JSON or empty."""
    status: int = 200
    raises: tuple[type[DevFlowError], ...] = ()
    """The errors that do not follow from the other declarations, see `possible_errors`."""

    def possible_errors(self) -> Iterator[type[DevFlowError]]:
        """Every error that this route may respond with. An error may occur more than once."""
        yield from self.raises
        if self.access != "public" and errors.AgentTokenInvalid not in self.raises:
            yield errors.Unauthenticated
        if self.access != "public":
            yield errors.Forbidden
        if self.body is not None:
            yield from (errors.Invalid, errors.NotJson, errors.TooLarge, errors.UnsupportedContent)
            if any(field.is_required() for field in self.body.model_fields.values()):
                yield errors.MissingFields
        if self.query is not None or self.idempotency_key:
            yield errors.Invalid
        if self.rate_limits:
            yield errors.RateLimited
        yield from (errors.Unavailable, DevFlowError)


def route_specs(route_table: Any) -> list[RouteSpec]:
    """The declarations of all routes of an app (`app.routes`), sorted by path and method, without OPTIONS."""
    views = [entry.view_function for methods in route_table.values() for entry in methods.values()]
    found = [view.route_spec for view in views if hasattr(view, "route_spec")]
    return sorted(found, key=lambda route: (route.path, route.method))
