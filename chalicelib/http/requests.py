"""A request, and the validation of its body and its parameters."""

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
    """One request, as a route receives it. The route takes the time only from `now` (epoch milliseconds)."""

    now: int
    headers: Mapping[str, str]
    query: Mapping[str, str]
    event: Mapping[str, Any]
    """The event from API Gateway (REST API proxy integration, format version 1.0)."""
    route_spec: RouteSpec | None = None
    """The declarations of the route. The methods below check that the route declares what it reads."""
    caller_id: str = ""
    """The user or agent, for the log. Empty until the caller is authenticated."""

    def body(self, model: type[M]) -> M:
        """The JSON body as `model`. Raises Invalid or one of its subclasses."""
        assert self.route_spec is None or self.route_spec.body is model, "the route declares another body"
        limit = BODY_LIMIT if self.route_spec is None else self.route_spec.max_body_bytes
        if len(self.raw) > limit:
            raise errors.TooLarge(f"The body has {len(self.raw)} bytes. Send at most {limit // KB} KB.")
        if not self.raw:
            return parse(model, {}, strict=True)
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise errors.UnsupportedContent
        try:
            data = _parse_json(self.raw)
        except ValueError as error:
            raise errors.NotJson(f"The body is not valid JSON: {error}. Correct the body.") from None
        if not isinstance(data, dict):
            raise errors.Invalid("The body must be a JSON object.")
        return parse(model, data, strict=True)

    def query_params(self, model: type[M]) -> M:
        """The query string as `model`. Raises Invalid."""
        assert self.route_spec is None or self.route_spec.query is model, "the route declares another query"
        return parse(model, dict(self.query))

    @property
    def rate_limit(self) -> RateLimit:
        """The rate limit that counts a user's call."""
        assert self.route_spec is not None
        return self.route_spec.rate_limits[0]

    @property
    def agent_rate_limit(self) -> RateLimit:
        """The rate limit that counts the call of an agent, on a route that agents may call."""
        assert self.route_spec is not None
        return self.route_spec.rate_limits[-1]

    @cached_property
    def raw(self) -> bytes:
        """The body before parsing. Raises NotJson if the event declares base64 and the body is not base64."""
        body = self.event.get("body") or ""
        if self.event.get("isBase64Encoded"):
            try:
                return base64.b64decode(body, validate=True)
            except ValueError:
                raise errors.NotJson("The body could not be decoded from base64. Send it as plain JSON.") from None
        return str(body).encode("utf-8", "surrogatepass")

    def header_values(self, name: str) -> list[str]:
        """All values of a header that may be sent more than once. `name` is in lower case."""
        headers = self.event.get("multiValueHeaders") or {}
        found = [values for key, values in headers.items() if key.lower() == name]
        return found[0] if found else []

    @property
    def source_ip(self) -> str:
        """The IP address of the caller, as API Gateway reports it."""
        context = self.event.get("requestContext") or {}
        return str((context.get("identity") or {}).get("sourceIp") or "")

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header). None if it is absent."""
        assert self.route_spec is None or self.route_spec.idempotency_key, "the route does not declare the header"
        key = self.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 255:  # noqa: PLR2004
            raise errors.Invalid("The Idempotency-Key must have 1 to 255 characters.")
        return key

    @property
    def bearer_token(self) -> str | None:
        """The token of the Authorization header (RFC 6750, section 2.1). None if it is absent."""
        scheme, _, token = self.headers.get("authorization", "").strip().partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


def _parse_json(raw: bytes) -> Any:
    """Parse JSON. An unpaired surrogate becomes U+FFFD.

    RFC 8259, section 8.2, allows unpaired surrogates. An agent sends one if it cuts its output within an emoji.
    """
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        if "hex escape" not in str(error):
            raise
    try:
        utf16 = json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return from_json(utf16.decode("utf-16-le", "replace"), allow_inf_nan=False)


def parse(model: type[M], data: dict[str, Any], *, strict: bool = False) -> M:
    """`data` as `model`. Raises MissingFields if a required field is absent, null or blank, and Invalid otherwise.

    `strict` rejects the string "5" for the number 5.
    """
    try:
        return model.model_validate(data, strict=strict)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        integers = {
            str(problem["loc"][0]): int(problem["input"]) for problem in problems if _is_integral_float(problem)
        }
        if not integers:
            _raise_invalid(model, problems)
    return parse(model, data | integers, strict=strict)


def _is_integral_float(problem: Any) -> bool:
    """Whether a field must be an integer and has a value such as 5.0.

    JSON does not distinguish integers from other numbers (RFC 8259, section 6). Some clients write 5.0 for 5.
    """
    value = problem["input"]
    is_integer_field = problem["type"] == "int_type" and len(problem["loc"]) == 1
    return is_integer_field and isinstance(value, float) and value.is_integer()


def _raise_invalid(model: type[BaseModel], problems: list[Any]) -> NoReturn:
    required = {info.alias or name for name, info in model.model_fields.items() if info.is_required()}
    missing = []
    for problem in problems:
        field = str(problem["loc"][0]) if problem["loc"] else ""
        error = (problem.get("ctx") or {}).get("error")
        if isinstance(error, DevFlowError):
            raise error
        if len(problem["loc"]) == 1 and field in required and _is_blank(problem):
            missing.append(field)
    if missing:
        raise errors.MissingFields(missing)
    raise errors.Invalid(
        "Some fields are not valid. Correct the fields in details.",
        [f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}" for problem in problems][:20],
    )


def _is_blank(problem: Any) -> bool:
    value = problem["input"]
    return problem["type"] == "missing" or value is None or (isinstance(value, str) and not value.strip())
