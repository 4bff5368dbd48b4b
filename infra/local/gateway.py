"""Replaces an API Gateway REST API with Lambda proxy integration.

Events and responses have the formats of
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html. There is one
difference. A request for an unknown path or method also reaches the app. In AWS, API Gateway itself responds, in the
same shape.
"""

import base64
import gzip
import json
import time
import traceback
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from chalicelib.core import clock
from chalicelib.core.timestamps import iso
from infra.local.lambda_context import ACCOUNT, Context

BODY_LIMIT = 10 * 1024 * 1024
"""API Gateway's limit in bytes. It cannot be changed."""

MINIMUM_COMPRESSION_SIZE = 1024
"""Bytes; `minimum_compression_size` in .chalice/config.json
(https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html)."""

_RENAMED_HEADERS = {"www-authenticate": "x-amzn-Remapped-WWW-Authenticate"}
"""Response headers that API Gateway renames, in lower case, with their new names
(https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html)."""

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    """The response to the client."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of the first header with this name, in any case, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


def error_response(status: int, title: str, message: str) -> Response:
    """An error of the gateway itself, in the shape of all errors (spec, "All errors follow this format")."""
    from chalicelib.http.responses import SECURITY_HEADERS  # noqa: PLC0415  # its imports read the environment

    body = {"error": title, "message": message, "statusCode": status, "timestamp": iso(clock.now())}
    headers = {"Content-Type": "application/json", "X-Request-Id": str(uuid.uuid4()), "Cache-Control": "no-store"}
    return Response(status, tuple((SECURITY_HEADERS | headers).items()), json.dumps(body).encode())


@dataclass(frozen=True)
class RouteMatch:
    """The resource (route) of a path, and the values of its path parameters."""

    resource: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Gateway:
    """Turns HTTP requests into calls of the app. `call` is safe to use from many threads and never raises."""

    def __init__(self, app: Any, *, stage: str = "local") -> None:
        self._app = app
        self._stage = stage
        # As in API Gateway, a literal segment takes precedence over a parameter in the same place.
        self._resources = sorted(app.routes, key=lambda path: [_is_parameter(part) for part in path.split("/")])

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        """Handle a request. `target` is the path with an optional query string, not decoded, as in the request line."""
        if len(body) > BODY_LIMIT:
            return error_response(413, "Request too large", f"The limit of a request is {BODY_LIMIT} bytes.")
        event = self.event(method, target, headers, body, source_ip=source_ip)
        try:
            return _compressed(_response(self._app(event, Context("devflow-local"))), headers)
        except Exception:  # noqa: BLE001  # API Gateway responds with 502 to every exception of a function
            traceback.print_exc()
            return error_response(502, "Internal error", "The function failed. Its log has the reason.")

    def match(self, method: str, path: str) -> RouteMatch:
        """The resource of a path. Of several, the first with the method. An unknown path is its own resource."""
        parts = path.split("/")
        if len(parts) > 2 and not parts[-1]:  # noqa: PLR2004  # "/x/" equals "/x", but "/" is itself
            parts.pop()
        matches = [match for resource in self._resources if (match := _match(resource, parts))]
        usable = [match for match in matches if method in self._app.routes[match.resource]]
        return next(iter(usable or matches), RouteMatch(path))

    def event(self, method: str, target: str, headers: Headers, body: bytes, *, source_ip: str) -> dict[str, Any]:
        """The Lambda proxy event, version 1.0."""
        path, _, query = target.partition("?")
        match = self.match(method, path)
        parameters = parse_qs(query, keep_blank_values=True, errors="replace")
        by_name: dict[str, list[str]] = {}
        for name, value in headers:
            by_name.setdefault(name, []).append(value)
        text, encoded = _event_body(body)
        now = time.time()
        return {
            "resource": match.resource,
            "path": path,
            "httpMethod": method,
            "headers": {name: values[-1] for name, values in by_name.items()},
            "multiValueHeaders": by_name,
            "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
            "multiValueQueryStringParameters": parameters or None,
            "pathParameters": dict(match.parameters) or None,
            "stageVariables": None,
            "requestContext": {
                "accountId": ACCOUNT,
                "apiId": "local",
                "domainName": next((values[-1] for name, values in by_name.items() if name.lower() == "host"), ""),
                "extendedRequestId": uuid.uuid4().hex,
                "httpMethod": method,
                "identity": {
                    "sourceIp": source_ip,
                    "userAgent": next(
                        (values[-1] for name, values in by_name.items() if name.lower() == "user-agent"), None
                    ),
                },
                "path": path,
                "protocol": "HTTP/1.1",
                "requestId": str(uuid.uuid4()),
                "requestTime": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
                "requestTimeEpoch": int(now * 1000),
                "resourceId": match.resource,
                "resourcePath": match.resource,
                "stage": self._stage,
            },
            "body": text,
            "isBase64Encoded": encoded,
        }


def _is_parameter(part: str) -> bool:
    return part.startswith("{") and part.endswith("}")


def _match(resource: str, parts: list[str]) -> RouteMatch | None:
    """Compare segment by segment. A parameter matches one segment that is not empty; it is decoded after the match."""
    names = resource.split("/")
    if len(names) != len(parts):
        return None
    values = {}
    for name, part in zip(names, parts, strict=True):
        if _is_parameter(name) and part:
            values[name[1:-1]] = unquote(part)
        elif name != unquote(part):
            return None
    return RouteMatch(resource, values)


def _event_body(body: bytes) -> tuple[str | None, bool]:
    """The event's `body` and `isBase64Encoded`: UTF-8 text unchanged, other bytes in base64, an empty body as None."""
    if not body:
        return None, False
    try:
        return body.decode("utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), True


def _response(result: Mapping[str, Any]) -> Response:
    headers = [(str(name), str(value)) for name, value in (result.get("headers") or {}).items()]
    for name, values in (result.get("multiValueHeaders") or {}).items():
        headers = [pair for pair in headers if pair[0].lower() != name.lower()]
        headers += [(str(name), str(value)) for value in values]
    headers = [(_RENAMED_HEADERS.get(name.lower(), name), value) for name, value in headers]
    body = result.get("body") or ""
    content = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode("utf-8")
    return Response(int(result["statusCode"]), tuple(headers), content)


def _compressed(response: Response, request_headers: Headers) -> Response:
    """The response, compressed if it is long enough and the client accepts gzip."""
    accepted = ",".join(value for name, value in request_headers if name.lower() == "accept-encoding").lower()
    if "gzip" not in accepted or len(response.body) < MINIMUM_COMPRESSION_SIZE:
        return response
    return Response(
        response.status, (*response.headers, ("Content-Encoding", "gzip")), gzip.compress(response.body, mtime=0)
    )
