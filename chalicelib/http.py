"""HTTP, once for all routes: the error contract, parsing, headers, and one log line a request.

A route is a function from a `Call` to an `Answer`. Whatever it raises becomes the contract's
`{"error", "message", "statusCode", "timestamp"}` (plus `details` where there are any); so does everything that goes
wrong before a route is reached, which is why `App` stands around Chalice's own dispatch.
"""

import base64
import binascii
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pydantic
from chalice.app import Blueprint, Chalice, Response
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from chalicelib import clock, errors, log, ratelimit
from chalicelib.errors import DevFlowError
from chalicelib.settings import KB
from chalicelib.times import iso
from chalicelib.types import ID

BODY_LIMIT = 256 * KB
REPORT_LIMIT = 1024 * KB

STATUS: dict[type[DevFlowError], int] = {
    errors.TooLarge: 413,
    errors.UnsupportedContent: 415,
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.MethodNotAllowed: 405,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.WrongOffset: 416,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.DevFlowError: 500,
}
"""The status of each error; a class that is not listed has its nearest ancestor's."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

M = TypeVar("M", bound=BaseModel)
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")


@dataclass(frozen=True)
class Answer:
    """What a route answers: a body for JSON (a pydantic model or plain data) and a status."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One request, as a route sees it. `now` is the only time it knows (epoch milliseconds)."""

    now: int
    headers: Mapping[str, str]
    query: Mapping[str, str]
    raw: bytes
    address: str
    who: str = ""
    """For the log: the user or agent, once known."""

    def body(self, model: type[M], *, limit: int = BODY_LIMIT) -> M:
        """The JSON body as `model`. Raises Invalid or one of its kinds; `limit` is in bytes."""
        if len(self.raw) > limit:
            raise errors.TooLarge(f"A body here may have at most {limit // KB} KB; this one has {len(self.raw)} bytes.")
        if not self.raw.strip():
            return parsed(model, {})
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise errors.UnsupportedContent
        try:
            data = from_json(self.raw, allow_inf_nan=False)
        except ValueError as error:
            raise errors.NotJson(f"The body is not valid JSON: {error}.") from None
        if not isinstance(data, dict):
            raise errors.Invalid("The body must be a JSON object.")
        return parsed(model, data)

    def params(self, model: type[M]) -> M:
        """The query string as `model`. Raises Invalid."""
        return parsed(model, dict(self.query))

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header (RFC 6750, section 2.1); None where there is none."""
        scheme, _, token = self.headers.get("authorization", "").strip().partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


def parsed(model: type[M], data: dict[str, Any]) -> M:
    """`data` as `model`; a required field that is absent, null or blank counts as missing."""
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        _raise_invalid(model, problems)
        raise AssertionError from error  # pragma: no cover  # the line above always raises


def _raise_invalid(model: type[BaseModel], problems: list[Any]) -> None:
    required = {info.alias or name for name, info in model.model_fields.items() if info.is_required()}
    missing = []
    for problem in problems:
        top = str(problem["loc"][0]) if problem["loc"] else ""
        own = (problem.get("ctx") or {}).get("error")
        if isinstance(own, DevFlowError):
            raise own
        if len(problem["loc"]) == 1 and top in required and _blank(problem):
            missing.append(top)
    if missing:
        raise errors.MissingFields(missing)
    raise errors.Invalid(
        "Some fields are not valid; see details.",
        [f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}" for problem in problems][:20],
    )


def _blank(problem: Any) -> bool:
    given = problem["input"]
    return problem["type"] == "missing" or given is None or (isinstance(given, str) and not given.strip())


def status_of(error: DevFlowError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def failure(error: DevFlowError, now: int) -> Answer:
    """An error in the contract's shape (spec, "All errors follow this format")."""
    status = status_of(error)
    body: dict[str, Any] = {
        "error": error.title,
        "message": error.message,
        "statusCode": status,
        "timestamp": iso(now),
    }
    if error.details is not None:
        body["details"] = error.details
    headers = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    elif isinstance(error, errors.WrongOffset):
        headers["Upload-Offset"] = str(error.wanted)
    elif isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="devflow"'
    return Answer(body, status, headers)


Handler = Callable[..., Answer]


def route(blueprint: Blueprint, method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a route: `handler(call, **path parameters)`. Content types are checked by `Call.body`, not by Chalice,
    which would refuse a GET for its Content-Type."""

    def register(handler: Handler) -> Handler:
        def view(**path_parameters: str) -> Response:
            request = blueprint.current_request
            call = Call(
                now=clock.now(),
                headers=request.headers,
                query=dict(request.query_params or {}),
                raw=_raw(request.to_original_event()),
                address=(request.context.get("identity") or {}).get("sourceIp") or "",
            )
            try:
                answer = handler(call, **{name: _id(value) for name, value in path_parameters.items()})
            except DevFlowError as error:
                if status_of(error) >= 500:  # noqa: PLR2004
                    log.logger.warning(error.title, exc_info=True)
                answer = failure(error, call.now)
            except Exception:  # noqa: BLE001  # the net: a bug is a 500 in our shape
                log.logger.exception("a bug, or AWS out of order")
                answer = failure(DevFlowError(), call.now)
            _line.who = call.who
            return to_response(answer)

        view.__name__ = handler.__name__
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=["*/*"])(view)
        return handler

    return register


NO_ID = "~"
"""Stands for whatever cannot be an id: nothing has it, so it is found nowhere, by the same way as any other."""


def _id(text: str) -> str:
    return text if ID.fullmatch(text) else NO_ID


def _raw(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error:
            raise errors.NotJson from None
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""


def to_response(answer: Answer) -> Response:
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json", **answer.headers}
    quota = ratelimit.current.get()
    if quota is not None:
        headers["X-RateLimit-Limit"] = str(quota.limit)
        headers["X-RateLimit-Remaining"] = str(quota.remaining)
        headers["X-RateLimit-Reset"] = str(quota.reset)
    body = answer.body
    text = body.model_dump_json(by_alias=True) if isinstance(body, BaseModel) else to_json(body).decode()
    return Response(body=text, status_code=answer.status, headers=headers)


class _Line(threading.local):
    """What the log line of the request in this thread will say, beyond what its event says."""

    who: str = ""


_line = _Line()


class App(Chalice):
    """The Chalice app, with a net around its dispatch: never another shape, always a request id and a log line."""

    def __init__(self, app_name: str) -> None:
        self._thread = threading.local()
        super().__init__(app_name, configure_logs=False)

    @property
    def current_request(self) -> Any:
        """The request of this thread (the local stage serves several at once; a Lambda has one)."""
        return getattr(self._thread, "request", None)

    @current_request.setter
    def current_request(self, request: Any) -> None:
        self._thread.request = request

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        ratelimit.current.set(None)
        _line.who = ""
        said = _header(event, "x-request-id")
        identity = said if _SANE_REQUEST_ID.fullmatch(said) else uuid.uuid4().hex
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
        answer["headers"].update(SECURITY_HEADERS | {"X-Request-Id": identity})
        if path.startswith("/api"):
            answer["headers"]["Cache-Control"] = "no-store"
        log.logger.info(
            "request",
            extra={
                "method": asked.get("httpMethod"),
                "route": path if path in self.routes else "unknown",
                "status": answer["statusCode"],
                "ms": round((time.perf_counter() - started) * 1_000, 1),
                "who": _line.who,
            },
        )
        log.request_id.set("")
        return answer

    def _dispatch(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer unknown paths and methods here: Chalice would call both 405, and remember every unknown path."""
        asked = event.get("requestContext") or {}
        methods = self.routes.get(str(asked.get("resourcePath")))
        if not methods:
            raise errors.RouteNotFound
        if asked.get("httpMethod") not in methods:
            raise errors.MethodNotAllowed(list(methods))
        answer: dict[str, Any] = super().__call__(event, context)
        return answer


def _header(event: Any, name: str) -> str:
    headers = event.get("headers") or {}
    return next((str(value) for key, value in headers.items() if key.lower() == name), "")


def idempotency_key(call: Call) -> str | None:
    """The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header); None where there is none."""
    key = call.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:  # noqa: PLR2004
        raise errors.Invalid("An Idempotency-Key has 1 to 255 characters.")
    return key
