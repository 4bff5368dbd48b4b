"""The Chalice app: it dispatches a request to a route, and completes every response."""

import os
import re
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from chalice.app import Blueprint, Chalice
from chalice.app import Response as ChaliceResponse

from chalicelib.core import clock, deadline, errors, log, metrics
from chalicelib.core.errors import DevFlowError
from chalicelib.http import cors, rate_limits
from chalicelib.http.responses import SECURITY_HEADERS, STATUS_BY_ERROR, error_response, to_chalice_response
from chalicelib.http.routing import log_context

_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")

OPTIONS = "OPTIONS"


class App(Chalice):
    """A Chalice app in which every request has an id, a log line, and a response in the documented format.

    `features` maps the names of modules to the path prefixes of their routes. The routes are in the `blueprint` of the
    module. A module is imported by `load`, or by the first request whose path has one of its prefixes. So a Lambda
    function that serves one feature does not import all others at its cold start. This is safe in a Lambda function,
    because it handles one request at a time.
    """

    def __init__(self, app_name: str, features: Mapping[str, tuple[str, ...]]) -> None:
        self._thread = threading.local()
        self._unloaded = dict(features)
        """The features that have not been loaded."""
        super().__init__(app_name, configure_logs=False)
        self.api.binary_types = []  # every body is text, so API Gateway and Chalice need not look for binary types

    @property
    def current_request(self) -> Any:
        """The request of this thread. The local stage handles several requests at the same time, a Lambda only one."""
        return getattr(self._thread, "request", None)

    @current_request.setter
    def current_request(self, request: Any) -> None:
        self._thread.request = request

    def register_blueprint(
        self, blueprint: Blueprint, name_prefix: str | None = None, url_prefix: str | None = None
    ) -> None:
        """Register the routes, and a route for OPTIONS at each of their paths.

        Otherwise API Gateway would reject OPTIONS requests before they reach the app.
        """
        super().register_blueprint(blueprint, name_prefix, url_prefix)
        for path in [path for path, methods in self.routes.items() if OPTIONS not in methods]:
            self.route(path, methods=[OPTIONS], name="preflight", content_types=[])(self._preflight)

    def load_all(self) -> None:
        """Register the routes of all features."""
        self.load(*self._unloaded)

    def load(self, *modules: str) -> None:
        """Register the routes of these modules, unless they have been registered."""
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
        """The routes at the path of a request, by method. Empty if the path is unknown."""
        path = str((event.get("requestContext") or {}).get("resourcePath"))
        self.load(*(module for module, prefixes in self._unloaded.items() if path.startswith(prefixes)))
        return self.routes.get(path) or {}

    def _allowed_methods(self, event: Any) -> list[str]:
        """The methods that the path of a request supports."""
        return sorted(self._methods_at(event).keys() - {OPTIONS})

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        deadline_token = deadline.begin(context, deadline.HTTP_SECONDS)
        metrics.begin()
        quota_token = rate_limits.current_quota.set(None)
        log_context.caller_id = ""
        request_headers = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
        client_request_id = request_headers.get("x-request-id", "")
        request_id = client_request_id if _VALID_REQUEST_ID.fullmatch(client_request_id) else os.urandom(16).hex()
        log.request_id.set(request_id)
        try:
            response = self._dispatch(event, context)
        except DevFlowError as error:
            response = to_chalice_response(error_response(error, clock.now())).to_dict()
        except Exception:  # noqa: BLE001  # an error before the route is called must not change the response format
            log.logger.exception("request failed before it reached a route")
            response = to_chalice_response(error_response(DevFlowError(), clock.now())).to_dict()
        request_context = event.get("requestContext") or {}
        path = str(request_context.get("resourcePath") or event.get("path") or "")
        response["headers"] = headers = {**SECURITY_HEADERS, **response["headers"], "X-Request-Id": request_id}
        headers.update(cors.response_headers(request_headers.get("origin", "")))
        if path.startswith("/api"):
            headers["Cache-Control"] = "no-store"
        elapsed_ms = round((time.perf_counter() - started) * 1_000, 1)
        metrics.record("Requests")
        metrics.record("Latency", elapsed_ms)
        if response["statusCode"] == STATUS_BY_ERROR[errors.RateLimited]:
            metrics.record("RateLimited")
        log.info(
            "request",
            method=request_context.get("httpMethod"),
            route=path if path in self.routes else "unknown",
            status=response["statusCode"],
            ms=elapsed_ms,
            who=log_context.caller_id,
            **metrics.flush(clock.now()),
        )
        log.request_id.set("")
        rate_limits.current_quota.reset(quota_token)
        deadline.end(deadline_token)
        return response

    def _dispatch(self, event: Any, context: Any) -> dict[str, Any]:
        """Call the route, or raise for an unknown path or method.

        Chalice would respond to both with 405, and would store every unknown path in memory.
        """
        routes = self._methods_at(event)
        if not routes:
            raise errors.RouteNotFound
        if event["requestContext"].get("httpMethod") not in routes:
            raise errors.MethodNotAllowed(self._allowed_methods(event))
        response: dict[str, Any] = super().__call__(event, context)
        return response
