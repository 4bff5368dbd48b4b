"""Registering a route: what it declares, and the net around what it does."""

import threading
from collections.abc import Callable
from typing import TypedDict, Unpack

from chalice.app import Blueprint, Response
from pydantic import BaseModel

from chalicelib import clock, log
from chalicelib.errors import DevFlowError
from chalicelib.http.answers import Answer, failure, status_of, to_response
from chalicelib.http.calls import Call
from chalicelib.http.declared import Declared, Who
from chalicelib.ratelimit import Meter
from chalicelib.types import ID


class Line(threading.local):
    """What the log line of the request in this thread will say, beyond what its event says."""

    who: str = ""


line = Line()


Handler = Callable[..., Answer]


class Declarations(TypedDict, total=False):
    """What a route may declare by name; `Declared` says what each means."""

    query: type[BaseModel]
    body: type[BaseModel]
    limit: int
    idempotency_key: bool
    answer: type[BaseModel]
    media: str
    status: int
    raises: tuple[type[DevFlowError], ...]


def route(
    blueprint: Blueprint, method: str, path: str, who: Who, *meters: Meter, **declarations: Unpack[Declarations]
) -> Callable[[Handler], Handler]:
    """Register a route: `handler(call, **path parameters)`, whose docstring's first line is its summary.

    What it declares is checked against what it does: its guard counts on the first of its `meters`, `Call.body` and
    `Call.params` give the declared models alone, and an answer has the declared status unless it has another. See
    `Declared` for the rest. Content types are checked by `Call.body`, not by Chalice, which would refuse a GET for its
    Content-Type.
    """

    def register(handler: Handler) -> Handler:
        summary = (handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        declared = Declared(method, path, handler.__name__, summary, who, meters, **declarations)

        def view(**path_parameters: str) -> Response:
            request = blueprint.current_request
            call = Call(
                now=clock.now(),
                headers=request.headers,
                query=dict(request.query_params or {}),
                event=request.to_original_event(),
                declared=declared,
            )
            try:
                answer = handler(call, **{name: _id(value) for name, value in path_parameters.items()})
            except DevFlowError as error:
                if status_of(type(error)) >= 500:  # noqa: PLR2004
                    log.logger.warning(error.title, exc_info=True)
                answer = failure(error, call.now)
            except Exception:  # noqa: BLE001  # the net: a bug is a 500 in our shape
                log.logger.exception("a bug, or AWS out of order")
                answer = failure(DevFlowError(), call.now)
            line.who = call.who
            return to_response(answer, declared.status)

        view.__name__ = handler.__name__
        view.declared = declared  # type: ignore[attr-defined]  # where the app's own route table leads to it
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=[])(view)
        return handler

    return register


NO_ID = "~"
"""Stands for whatever cannot be an id: nothing has it, so it is found nowhere, by the same way as any other."""


def _id(text: str) -> str:
    return text if ID.fullmatch(text) else NO_ID
