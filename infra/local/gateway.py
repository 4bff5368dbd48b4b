"""Stands in for an API Gateway REST API with Lambda proxy integration.

Request to event and answer to response as
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html says. A path or a
method that no route has reaches the app too (in AWS it is a gateway response in the same shape).
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
from infra.local.lambdas import ACCOUNT, Context

BODY_LIMIT = 10 * 1024 * 1024
"""API Gateway's own limit, in bytes; not adjustable."""

COMPRESSED_FROM = 1024
"""Bytes; `minimum_compression_size` in .chalice/config.json
(https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html)."""

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    """What goes back to the client."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of this name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


def failure(status: int, title: str, message: str) -> Response:
    """An answer of the gateway's own, in the shape that every error has (spec, "All errors follow this format")."""
    from chalicelib.http.responses import SECURITY_HEADERS  # noqa: PLC0415  # what it imports reads the environment

    body = {"error": title, "message": message, "statusCode": status, "timestamp": iso(clock.now())}
    headers = {"Content-Type": "application/json", "X-Request-Id": str(uuid.uuid4()), "Cache-Control": "no-store"}
    return Response(status, tuple((SECURITY_HEADERS | headers).items()), json.dumps(body).encode())


@dataclass(frozen=True)
class Match:
    """The resource that a path belongs to, and what it captured."""

    resource: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Gateway:
    """`call` answers one HTTP request; it may be called from many threads, and it never raises."""

    def __init__(self, app: Any, *, stage: str = "local") -> None:
        self._app = app
        self._stage = stage
        # A literal segment goes before a capture in the same place, as in API Gateway.
        self._resources = sorted(app.routes, key=lambda path: [_is_capture(part) for part in path.split("/")])

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        """Answer a request. `target` is the request line's: a path with an optional query string, not decoded."""
        if len(body) > BODY_LIMIT:
            return failure(413, "Request too large", f"A request may have at most {BODY_LIMIT} bytes.")
        event = self.event(method, target, headers, body, source_ip=source_ip)
        try:
            return _compressed(_response(self._app(event, Context("devflow-local"))), headers)
        except Exception:  # noqa: BLE001  # whatever a function raises, API Gateway answers 502
            traceback.print_exc()
            return failure(502, "Internal error", "The function did not answer.")

    def match(self, method: str, path: str) -> Match:
        """The resource for a path; among several the one that has the method. A path that no route has is its own."""
        parts = path.split("/")
        if len(parts) > 2 and not parts[-1]:  # noqa: PLR2004  # "/x/" is "/x", but "/" stays
            parts.pop()
        matches = [match for resource in self._resources if (match := _match(resource, parts))]
        usable = [match for match in matches if method in self._app.routes[match.resource]]
        return next(iter(usable or matches), Match(path))

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


def _is_capture(part: str) -> bool:
    return part.startswith("{") and part.endswith("}")


def _match(resource: str, parts: list[str]) -> Match | None:
    """Segment by segment; a capture takes exactly one, not empty, and is decoded only after it was matched."""
    names = resource.split("/")
    if len(names) != len(parts):
        return None
    captured = {}
    for name, part in zip(names, parts, strict=True):
        if _is_capture(name) and part:
            captured[name[1:-1]] = unquote(part)
        elif name != unquote(part):
            return None
    return Match(resource, captured)


def _event_body(body: bytes) -> tuple[str | None, bool]:
    """The event's `body` and `isBase64Encoded`: text as it is, anything else in base64, nothing as None."""
    if not body:
        return None, False
    try:
        return body.decode("utf-8"), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), True


def _response(answer: Mapping[str, Any]) -> Response:
    headers = [(str(name), str(value)) for name, value in (answer.get("headers") or {}).items()]
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers = [pair for pair in headers if pair[0].lower() != name.lower()]
        headers += [(str(name), str(value)) for value in values]
    body = answer.get("body") or ""
    content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode("utf-8")
    return Response(int(answer["statusCode"]), tuple(headers), content)


def _compressed(response: Response, asked: Headers) -> Response:
    """The response as it goes over the wire to a client that takes gzip."""
    accepted = ",".join(value for name, value in asked if name.lower() == "accept-encoding").lower()
    if "gzip" not in accepted or len(response.body) < COMPRESSED_FROM:
        return response
    return Response(
        response.status, (*response.headers, ("Content-Encoding", "gzip")), gzip.compress(response.body, mtime=0)
    )
