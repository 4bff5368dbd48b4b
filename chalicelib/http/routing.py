"""Registering a route: what it declares, and the net around what it does."""

import threading
from collections.abc import Callable
from typing import TypedDict, Unpack

from chalice.app import Blueprint
from chalice.app import Response as ChaliceResponse
from pydantic import BaseModel

from chalicelib.core import clock, log
from chalicelib.core.errors import DevFlowError
from chalicelib.core.models import ID_PATTERN
from chalicelib.http.rate_limits import RateLimit
from chalicelib.http.requests import Request
from chalicelib.http.responses import Response, error_response, status_for, to_chalice_response
from chalicelib.http.route_spec import Access, RouteSpec


class LogContext(threading.local):
    """What the log line of the request in this thread will say, beyond what its event says."""

    caller_id: str = ""


log_context = LogContext()


Handler = Callable[..., Response]


class RouteOptions(TypedDict, total=False):
    """What a route may declare by name; `Declared` says what each means."""

    query: type[BaseModel]
    body: type[BaseModel]
    max_body_bytes: int
    idempotency_key: bool
    response: type[BaseModel]
    media_type: str
    status: int
    raises: tuple[type[DevFlowError], ...]


def route(
    blueprint: Blueprint, method: str, path: str, who: Access, *meters: RateLimit, **declarations: Unpack[RouteOptions]
) -> Callable[[Handler], Handler]:
    """Register a route: `handler(request, **path parameters)`, whose docstring's first line is its summary.

    What it declares is checked against what it does: its guard counts on the first of its `meters`, `Call.body` and
    `Call.params` give the declared models alone, and an answer has the declared status unless it has another. See
    `Declared` for the rest. Content types are checked by `Call.body`, not by Chalice, which would refuse a GET for its
    Content-Type.
    """

    def register(handler: Handler) -> Handler:
        summary = (handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        spec = RouteSpec(method, path, handler.__name__, summary, who, meters, **declarations)

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
                    log.logger.warning(error.title, exc_info=True)
                response = error_response(error, request.now)
            except Exception:  # noqa: BLE001  # the net: a bug is a 500 in our shape
                log.logger.exception("a bug, or AWS out of order")
                response = error_response(DevFlowError(), request.now)
            log_context.caller_id = request.caller_id
            return to_chalice_response(response, spec.status)

        view.__name__ = handler.__name__
        view.route_spec = spec  # type: ignore[attr-defined]  # where the app's own route table leads to it
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=[])(view)
        return handler

    return register


INVALID_ID = "~"
"""Stands for whatever cannot be an id: nothing has it, so it is found nowhere, by the same way as any other."""


def _path_id(text: str) -> str:
    return text if ID_PATTERN.fullmatch(text) else INVALID_ID
