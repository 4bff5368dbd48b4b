"""Registers routes, and converts the errors of a route to responses."""

import threading
from collections.abc import Callable
from typing import TypedDict, Unpack

from chalice.app import Blueprint
from chalice.app import Response as ChaliceResponse
from pydantic import BaseModel

from chalicelib.core import clock, log
from chalicelib.core.errors import DevFlowError, Unavailable
from chalicelib.core.models import ID_PATTERN
from chalicelib.http.rate_limits import RateLimit
from chalicelib.http.requests import Request
from chalicelib.http.responses import Response, error_response, status_for, to_chalice_response
from chalicelib.http.route_spec import Access, RouteSpec


class LogContext(threading.local):
    """Data for the log line of the request in this thread that is not in its event."""

    caller_id: str = ""


log_context = LogContext()


Handler = Callable[..., Response]


class RouteOptions(TypedDict, total=False):
    """The optional declarations of a route. `RouteSpec` describes them."""

    query: type[BaseModel]
    body: type[BaseModel]
    max_body_bytes: int
    idempotency_key: bool
    response: type[BaseModel]
    media_type: str
    status: int
    raises: tuple[type[DevFlowError], ...]


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    access: Access,
    *rate_limits: RateLimit,
    **options: Unpack[RouteOptions],
) -> Callable[[Handler], Handler]:
    """Register `handler(request, **path_parameters)` as a route. The first line of its docstring is its summary.

    The handler uses the declarations, so they cannot be wrong: its guard counts a user's call with the first of
    `rate_limits`, `Request.body` and `Request.query_params` accept only the declared models, and a response without a
    status has the declared one. `RouteSpec` describes the other declarations. `Request.body` checks the content type.
    Chalice does not, because it would reject a GET because of its Content-Type.
    """

    def register(handler: Handler) -> Handler:
        summary = (handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        spec = RouteSpec(method, path, handler.__name__, summary, access, rate_limits, **options)

        def view(**path_parameters: str) -> ChaliceResponse:
            chalice_request = blueprint.current_request
            request = Request(
                now=clock.now(),
                headers=chalice_request.headers,
                query=dict(chalice_request.query_params or {}),
                event=chalice_request.to_original_event(),
                route_spec=spec,
            )
            try:
                response = handler(request, **{name: _path_id(value) for name, value in path_parameters.items()})
            except DevFlowError as error:
                if status_for(type(error)) >= 500:  # noqa: PLR2004
                    log.logger.warning(
                        error.title, exc_info=error.__cause__ is not None or not isinstance(error, Unavailable)
                    )
                response = error_response(error, request.now)
            except Exception:  # noqa: BLE001  # a bug must not change the response format
                log.logger.exception("unhandled error in a route")
                response = error_response(DevFlowError(), request.now)
            log_context.caller_id = request.caller_id
            return to_chalice_response(response, spec.status)

        view.__name__ = handler.__name__
        view.route_spec = spec  # type: ignore[attr-defined]  # so that it can be found through the route table of the app
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=[])(view)
        return handler

    return register


INVALID_ID = "~"
"""Replaces a path parameter that is not a valid id. Nothing has this id, so the lookup fails as for any unknown id."""


def _path_id(text: str) -> str:
    return text if ID_PATTERN.fullmatch(text) else INVALID_ID
