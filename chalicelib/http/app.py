"""The way of a request: from Chalice's dispatch to a route and back, with a net around it."""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypedDict, Unpack

from chalice.app import Blueprint, Chalice, Response
from pydantic import BaseModel

from chalicelib import clock, errors, log, metrics, ratelimit
from chalicelib.errors import DevFlowError
from chalicelib.http import cors
from chalicelib.http.answers import SECURITY_HEADERS, STATUS, Answer, failure, status_of, to_response
from chalicelib.http.calls import Call
from chalicelib.http.declared import Declared, Who
from chalicelib.ratelimit import Meter
from chalicelib.types import ID

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")

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
            _line.who = call.who
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


class _Line(threading.local):
    """What the log line of the request in this thread will say, beyond what its event says."""

    who: str = ""


_line = _Line()


OPTIONS = "OPTIONS"


class App(Chalice):
    """The Chalice app, with a net around its dispatch: never another shape, always a request id and a log line.

    `features` names the modules whose `blueprint` has the routes, and how the addresses of each begin. A module is
    imported by `load`, or when an address that begins so is first asked for: a function that is called for one thing
    need not start with all others. Only a Lambda relies on that, which handles one request at a time.
    """

    def __init__(self, app_name: str, features: Mapping[str, tuple[str, ...]]) -> None:
        self._thread = threading.local()
        self._features = dict(features)
        self._loaded: set[str] = set()
        self._complete: set[str] = set()
        """Addresses all of whose routes are registered."""
        super().__init__(app_name, configure_logs=False)
        self.api.binary_types = []  # all is text here: neither API Gateway nor Chalice is to look for what is not

    @property
    def current_request(self) -> Any:
        """The request of this thread (the local stage serves several at once; a Lambda has one)."""
        return getattr(self._thread, "request", None)

    @current_request.setter
    def current_request(self, request: Any) -> None:
        self._thread.request = request

    def register_blueprint(
        self, blueprint: Blueprint, name_prefix: str | None = None, url_prefix: str | None = None
    ) -> None:
        """Likewise, and have API Gateway hand us each address's OPTIONS, which it would otherwise refuse by itself."""
        super().register_blueprint(blueprint, name_prefix, url_prefix)
        for path in [path for path, methods in self.routes.items() if OPTIONS not in methods]:
            self.route(path, methods=[OPTIONS], name="preflight", content_types=[])(self._preflight)

    def load(self, *modules: str) -> None:
        """Register the routes of these modules, without any those of all, unless that was done."""
        for module in modules or self._features:
            if module not in self._loaded:
                self.register_blueprint(import_module(module).blueprint)
                self._loaded.add(module)

    def _load_for(self, address: str) -> None:
        """Register all routes that may be at an address."""
        for module, beginnings in self._features.items():
            if any(f"{address}/".startswith(f"{beginning}/") for beginning in beginnings):
                self.load(module)
        if address in self.routes:
            self._complete.add(address)

    def _preflight(self, **path_parameters: str) -> Response:
        del path_parameters
        request = self.current_request
        methods = self._methods(request.to_original_event())
        answer = cors.preflight(request.headers, methods)
        return to_response(answer or failure(errors.MethodNotAllowed(methods), clock.now()))

    def _entries(self, event: Any) -> Mapping[str, Any]:
        """What is at the address of a request, by its methods; nothing where nothing is."""
        address = str((event.get("requestContext") or {}).get("resourcePath"))
        if address not in self._complete:
            self._load_for(address)
        return self.routes.get(address) or {}

    def _methods(self, event: Any) -> list[str]:
        """What the address of a request takes."""
        return sorted(self._entries(event).keys() - {OPTIONS})

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        metrics.begin()
        outer = ratelimit.current.set(None)
        _line.who = ""
        given = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
        said = given.get("x-request-id", "")
        identity = said if _SANE_REQUEST_ID.fullmatch(said) else os.urandom(16).hex()
        log.request_id.set(identity)
        try:
            answer = self._dispatch(event, context)
        except DevFlowError as error:
            answer = to_response(failure(error, clock.now())).to_dict()
        except Exception:  # noqa: BLE001  # the same net, for what goes wrong before a route
            log.logger.exception("a request that Chalice could not take")
            answer = to_response(failure(DevFlowError(), clock.now())).to_dict()
        asked = event.get("requestContext") or {}
        path = str(asked.get("resourcePath") or event.get("path") or "")
        answer["headers"] = headers = {**SECURITY_HEADERS, **answer["headers"], "X-Request-Id": identity}
        headers.update(cors.headers(given.get("origin", "")))
        if path.startswith("/api"):
            headers["Cache-Control"] = "no-store"
        took = round((time.perf_counter() - started) * 1_000, 1)
        metrics.note("Requests")
        metrics.note("Latency", took)
        if answer["statusCode"] == STATUS[errors.RateLimited]:
            metrics.note("RateLimited")
        log.info(
            "request",
            method=asked.get("httpMethod"),
            route=path if path in self.routes else "unknown",
            status=answer["statusCode"],
            ms=took,
            who=_line.who,
            **metrics.taken(clock.now()),
        )
        log.request_id.set("")
        ratelimit.current.reset(outer)
        return answer

    def _dispatch(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer unknown paths and methods here: Chalice would call both 405, and remember every unknown path."""
        entries = self._entries(event)
        if not entries:
            raise errors.RouteNotFound
        if event["requestContext"].get("httpMethod") not in entries:
            raise errors.MethodNotAllowed(self._methods(event))
        answer: dict[str, Any] = super().__call__(event, context)
        return answer
