"""What each route declares: who may call it, what it takes, what it gives, and what it may refuse.

Data beside the route table. A route's own guard and parsing read it; so do the OpenAPI document and the tests that go
over all routes. Nothing is made of it before somebody asks.
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

Access = Literal["user", "session", "agent", "authenticated", "public"]
"""Who may call a route.

- `user`: a user's token; an agent's token gets 403.
- `session`: a user who has logged in; a personal token gets 403 as well.
- `agent`: the agent that the path names, or its user.
- `authenticated`: any valid token, of a user or an agent.
- `public`: no token is needed.
"""


class RouteSpec(NamedTuple):
    """One route. `answer` is the model of its success, None where that is no JSON."""

    method: str
    path: str
    name: str
    summary: str
    access: Access
    rate_limits: tuple[RateLimit, ...] = ()
    """What its calls count on: a user's on the first, an agent's on the last. None: not counted."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    max_body_bytes: int = BODY_LIMIT
    """Of the body, in bytes."""
    idempotency_key: bool = False
    """Whether the header Idempotency-Key means something here."""
    response: type[BaseModel] | None = None
    media_type: str | None = None
    """What a success that is no JSON is sent as; None where it is JSON, or nothing at all."""
    status: int = 200
    raises: tuple[type[DevFlowError], ...] = ()
    """What it may refuse besides what its other declarations imply, see `refusals`."""

    def possible_errors(self) -> Iterator[type[DevFlowError]]:
        """Every error that this route may answer with, some perhaps twice."""
        yield from self.raises
        if self.access != "public" and errors.AgentTokenInvalid not in self.raises:
            yield errors.Unauthenticated
        if self.access in ("user", "session"):
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
    """What the routes of an app (`app.routes`) declare, by path and method. Its answers to OPTIONS are no routes."""
    views = [entry.view_function for methods in route_table.values() for entry in methods.values()]
    found = [view.route_spec for view in views if hasattr(view, "route_spec")]
    return sorted(found, key=lambda route: (route.path, route.method))
