"""The way of a request: from Chalice's dispatch to a route and back, with a net around it."""

import os
import re
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from chalice.app import Blueprint, Chalice
from chalice.app import Response as ChaliceResponse

from chalicelib.core import clock, errors, log, metrics
from chalicelib.core.errors import DevFlowError
from chalicelib.http import cors, rate_limits
from chalicelib.http.responses import SECURITY_HEADERS, STATUS_BY_ERROR, error_response, to_chalice_response
from chalicelib.http.routing import log_context

_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")

OPTIONS = "OPTIONS"


class App(Chalice):
    """The Chalice app, with a net around its dispatch: never another shape, always a request id and a log line.

    `features` names the modules whose `blueprint` has the routes, and how the addresses of each begin. A module is
    imported by `load`, or when an address that begins so is first asked for: a function that is called for one thing
    need not start with all others. Only a Lambda relies on that, which handles one request at a time.
    """

    def __init__(self, app_name: str, features: Mapping[str, tuple[str, ...]]) -> None:
        self._thread = threading.local()
        self._unloaded = dict(features)
        """Those that are still to be loaded."""
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

    def load_all(self) -> None:
        """Register every route there is."""
        self.load(*self._unloaded)

    def load(self, *modules: str) -> None:
        """Register the routes of these modules, of each once."""
        for module in modules:
            if module in self._unloaded:
                self.register_blueprint(import_module(module).blueprint)
                del self._unloaded[module]

    def _preflight(self, **path_parameters: str) -> ChaliceResponse:
        del path_parameters
        request = self.current_request
        methods = self._allowed_methods(request.to_original_event())
        response = cors.preflight_response(request.headers, methods)
        return to_chalice_response(response or error_response(errors.MethodNotAllowed(methods), clock.now()))

    def _methods_at(self, event: Any) -> Mapping[str, Any]:
        """What is at the address of a request, by its methods; nothing where nothing is."""
        address = str((event.get("requestContext") or {}).get("resourcePath"))
        self.load(*(module for module, beginnings in self._unloaded.items() if address.startswith(beginnings)))
        return self.routes.get(address) or {}

    def _allowed_methods(self, event: Any) -> list[str]:
        """What the address of a request takes."""
        return sorted(self._methods_at(event).keys() - {OPTIONS})

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        metrics.begin()
        outer = rate_limits.current_quota.set(None)
        log_context.caller_id = ""
        given = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
        said = given.get("x-request-id", "")
        identity = said if _VALID_REQUEST_ID.fullmatch(said) else os.urandom(16).hex()
        log.request_id.set(identity)
        try:
            response = self._dispatch(event, context)
        except DevFlowError as error:
            response = to_chalice_response(error_response(error, clock.now())).to_dict()
        except Exception:  # noqa: BLE001  # the same net, for what goes wrong before a route
            log.logger.exception("a request that came to no route")
            response = to_chalice_response(error_response(DevFlowError(), clock.now())).to_dict()
        asked = event.get("requestContext") or {}
        path = str(asked.get("resourcePath") or event.get("path") or "")
        response["headers"] = headers = {**SECURITY_HEADERS, **response["headers"], "X-Request-Id": identity}
        headers.update(cors.response_headers(given.get("origin", "")))
        if path.startswith("/api"):
            headers["Cache-Control"] = "no-store"
        took = round((time.perf_counter() - started) * 1_000, 1)
        metrics.record("Requests")
        metrics.record("Latency", took)
        if response["statusCode"] == STATUS_BY_ERROR[errors.RateLimited]:
            metrics.record("RateLimited")
        log.info(
            "request",
            method=asked.get("httpMethod"),
            route=path if path in self.routes else "unknown",
            status=response["statusCode"],
            ms=took,
            who=log_context.caller_id,
            **metrics.flush(clock.now()),
        )
        log.request_id.set("")
        rate_limits.current_quota.reset(outer)
        return response

    def _dispatch(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer unknown paths and methods here: Chalice would call both 405, and remember every unknown path."""
        entries = self._methods_at(event)
        if not entries:
            raise errors.RouteNotFound
        if event["requestContext"].get("httpMethod") not in entries:
            raise errors.MethodNotAllowed(self._allowed_methods(event))
        response: dict[str, Any] = super().__call__(event, context)
        return response
