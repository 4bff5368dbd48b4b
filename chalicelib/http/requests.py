"""What comes in: one request, its body and its parameters, checked."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeVar

import pydantic
from pydantic import BaseModel
from pydantic_core import from_json

from chalicelib.core import errors
from chalicelib.core.errors import DevFlowError
from chalicelib.core.settings import KB
from chalicelib.http.rate_limits import RateLimit
from chalicelib.http.route_spec import BODY_LIMIT, RouteSpec

M = TypeVar("M", bound=BaseModel)


@dataclass
class Request:
    """One request, as a route sees it. `now` is the only time it knows (epoch milliseconds)."""

    now: int
    headers: Mapping[str, str]
    query: Mapping[str, str]
    event: Mapping[str, Any]
    """What API Gateway sent (its REST proxy event, version 1.0)."""
    route_spec: RouteSpec | None = None
    """What the route declares; what it asks for below is held against it."""
    caller_id: str = ""
    """For the log: the user or agent, once known."""

    def body(self, model: type[M]) -> M:
        """The JSON body as `model`. Raises Invalid or one of its kinds."""
        assert self.route_spec is None or self.route_spec.body is model, "a route declares what it takes"
        limit = BODY_LIMIT if self.route_spec is None else self.route_spec.max_body_bytes
        if len(self.raw) > limit:
            raise errors.TooLarge(f"A body here may have at most {limit // KB} KB; this one has {len(self.raw)} bytes.")
        if not self.raw:
            return parse(model, {}, strict=True)
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise errors.UnsupportedContent
        try:
            data = _parse_json(self.raw)
        except ValueError as error:
            raise errors.NotJson(f"The body is not valid JSON: {error}.") from None
        if not isinstance(data, dict):
            raise errors.Invalid("The body must be a JSON object.")
        return parse(model, data, strict=True)

    def query_params(self, model: type[M]) -> M:
        """The query string as `model`. Raises Invalid."""
        assert self.route_spec is None or self.route_spec.query is model, "a route declares what it takes"
        return parse(model, dict(self.query))

    @property
    def rate_limit(self) -> RateLimit:
        """What a user's call counts on."""
        assert self.route_spec is not None
        return self.route_spec.rate_limits[0]

    @cached_property
    def raw(self) -> bytes:
        """The body as it came. Raises NotJson where it is not the base64 that it is said to be."""
        body = self.event.get("body") or ""
        if self.event.get("isBase64Encoded"):
            try:
                return base64.b64decode(body, validate=True)
            except ValueError:
                raise errors.NotJson("The body is not valid base64.") from None
        return str(body).encode("utf-8", "surrogatepass")

    def header_values(self, name: str) -> list[str]:
        """All values of a header that may be sent more than once; `name` in lower case."""
        headers = self.event.get("multiValueHeaders") or {}
        found = [values for key, values in headers.items() if key.lower() == name]
        return found[0] if found else []

    @property
    def source_ip(self) -> str:
        """The network address of the caller, as API Gateway saw it."""
        context = self.event.get("requestContext") or {}
        return str((context.get("identity") or {}).get("sourceIp") or "")

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header); None where there is none."""
        assert self.route_spec is None or self.route_spec.idempotency_key, "a route declares what it takes"
        key = self.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 255:  # noqa: PLR2004
            raise errors.Invalid("An Idempotency-Key has 1 to 255 characters.")
        return key

    @property
    def bearer_token(self) -> str | None:
        """The token of the Authorization header (RFC 6750, section 2.1); None where there is none."""
        scheme, _, token = self.headers.get("authorization", "").strip().partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


def _parse_json(raw: bytes) -> Any:
    """JSON as RFC 8259 has it, which allows half of a surrogate pair (section 8.2): an agent that cuts its output
    within an emoji sends one, and U+FFFD is kept for it."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        if "hex escape" not in str(error):
            raise
    try:
        whole = json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return from_json(whole.decode("utf-16-le", "replace"), allow_inf_nan=False)


def parse(model: type[M], data: dict[str, Any], *, strict: bool = False) -> M:
    """`data` as `model`; a required field that is absent, null or blank counts as missing. `strict`: no "5" for a 5."""
    try:
        return model.model_validate(data, strict=strict)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        whole = {str(problem["loc"][0]): int(problem["input"]) for problem in problems if _is_integral_float(problem)}
        if not whole:
            _raise_invalid(model, problems)
    return parse(model, data | whole, strict=strict)


def _is_integral_float(problem: Any) -> bool:
    """JSON has numbers and no integers (RFC 8259, section 6): 5.0 is a 5, and some clients write it so."""
    given = problem["input"]
    asked_for_a_field = problem["type"] == "int_type" and len(problem["loc"]) == 1
    return asked_for_a_field and isinstance(given, float) and given.is_integer()


def _raise_invalid(model: type[BaseModel], problems: list[Any]) -> NoReturn:
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
