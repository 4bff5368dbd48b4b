"""An OpenAPI 3.1 document, made of what the routes declare and of the models that they declare it with."""

import re
from collections.abc import Sequence

from chalicelib.auth.guard import COOKIE
from chalicelib.core.errors import DevFlowError
from chalicelib.core.models import ID_PATTERN
from chalicelib.core.settings import KB, VERSION
from chalicelib.http import Access, RouteSpec, status_for
from chalicelib.openapi.json_schema import Json, JsonSchemas

ABOUT = """\
The control plane for coding agents that run on your own machines.

Every error is `{"error", "message", "statusCode", "timestamp"}`, plus `details` where there is more to say; switch on
`error`. An address that is not here answers 404 "Not found", a method that an address does not have 405 "Method not
allowed". What is somebody else's answers 404, like what is not there. Unknown fields are ignored.

`X-Request-Id` of a request (8 to 128 of `A-Z a-z 0-9 . _ : -`) comes back in its answer; without one, one is made."""

ID_SCHEMA: Json = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}

_NON_NEGATIVE = {"type": "integer", "minimum": 0}
HEADERS: dict[str, Json] = {
    "X-Request-Id": {"description": "Names this request in the log.", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "So many calls may be made a minute.", "schema": _NON_NEGATIVE},
    "X-RateLimit-Remaining": {"description": "So many are left in this minute.", "schema": _NON_NEGATIVE},
    "X-RateLimit-Reset": {"description": "When the next minute begins, in epoch seconds.", "schema": _NON_NEGATIVE},
    "Retry-After": {"description": "Seconds until the request can succeed.", "schema": _NON_NEGATIVE},
    "WWW-Authenticate": {"description": "What is asked for (RFC 6750).", "schema": {"type": "string"}},
    "Upload-Offset": {"description": "Where what is there ends, in bytes.", "schema": _NON_NEGATIVE},
    "Location": {"description": "Where to go on.", "schema": {"type": "string"}},
}
"""Headers of answers. A component's name with `.sometimes` is the same header where it may be missing."""

_QUOTA_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HEADERS_BY_STATUS: dict[int, tuple[str, ...]] = {
    302: ("Location",),
    401: ("WWW-Authenticate",),
    416: ("Upload-Offset",),
    429: ("Retry-After", *_QUOTA_HEADERS),
    503: ("Retry-After",),
}

ERROR: Json = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What clients switch on: it never changes."},
        "message": {"type": "string", "description": "For people."},
        "statusCode": {"type": "integer"},
        # Without a format: a client that was generated must be able to read what API Gateway answers by itself, too.
        "timestamp": {
            "type": "string",
            "description": "UTC, ISO 8601; 24/Jan/2025:00:00:00 +0000 in what API Gateway answers by itself.",
        },
        "details": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["error", "message", "statusCode", "timestamp"],
}

_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
SECURITY: dict[str, Json] = {
    "userToken": _BEARER
    | {"description": "A user's token, from logging in or made for a program: everything that is the user's."},
    "sessionToken": _BEARER | {"description": "A user's token from logging in; one made for a program is a 403."},
    "agentToken": _BEARER
    | {"description": "An agent's token: its own polls and heartbeats, the tasks that it holds, and submitting."},
    "browser": {
        "type": "apiKey",
        "in": "cookie",
        "name": f"__Host-{COOKIE}",
        "description": "The session of a browser, on requests of the platform's own pages alone.",
    },
}
_SECURITY_BY_ACCESS: dict[Access, tuple[str, ...]] = {
    "user": ("userToken", "browser"),
    "session": ("sessionToken", "browser"),
    "agent": ("userToken", "agentToken", "browser"),
    "authenticated": ("userToken", "agentToken", "browser"),
    "public": (),
}


def build(routes: Sequence[RouteSpec]) -> Json:
    """The document. Its servers are relative to its own address, so it is right under any domain and stage."""
    schemas = JsonSchemas(routes)
    paths: dict[str, Json] = {}
    refusals: dict[str, Json] = {}
    for route in routes:
        path = paths.setdefault(route.path, _path(route.path))
        path[route.method.lower()] = _operation(route, schemas, refusals)
    return {
        "openapi": "3.1.0",
        "info": {"title": "DevFlow", "version": VERSION, "description": ABOUT},
        "servers": [{"url": ".."}],
        "paths": paths,
        "components": {
            "schemas": schemas.all | {"Error": ERROR},
            "responses": refusals,
            "headers": {name: header | {"required": True} for name, header in HEADERS.items()}
            | {f"{name}.sometimes": HEADERS[name] for name in _QUOTA_HEADERS},
            "securitySchemes": SECURITY,
        },
    }


def _path(path: str) -> Json:
    names = re.findall(r"\{(\w+)\}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": ID_SCHEMA} for name in names]
    return {"parameters": parameters} if parameters else {}


def _operation(route: RouteSpec, schemas: JsonSchemas, refusals: dict[str, Json]) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.path.strip("/").removeprefix("api/").partition("/")[0]],
        "security": [{scheme: []} for scheme in _SECURITY_BY_ACCESS[route.access]],
    }
    limits = [
        f"{rate_limit.limit} calls a minute ({rate_limit.name})" for rate_limit in dict.fromkeys(route.rate_limits)
    ]
    if limits:  # a user's limit, then an agent's
        operation["description"] = "Rate limit: " + "; with an agent's token: ".join(limits) + "."
    parameters = [] if route.query is None else schemas.parameters(route.query)
    if route.idempotency_key:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same request with the same key has one effect, and is answered again.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "description": f"At most {route.max_body_bytes // KB} KB.",
            "required": any(field.is_required() for field in route.body.model_fields.values()),
            "content": {"application/json": {"schema": schemas.reference(route.body)}},
        }
    return operation | {"responses": _responses(route, schemas, refusals)}


def _responses(route: RouteSpec, schemas: JsonSchemas, refusals: dict[str, Json]) -> Json:
    """A route's answers by status; each refusal goes to `refusals`, once for all routes that have the same."""
    quota = _QUOTA_HEADERS if route.rate_limits else ()
    success: Json = {"description": "Success.", "headers": _headers(*_HEADERS_BY_STATUS.get(route.status, ()), *quota)}
    if route.response is not None:
        success["content"] = {"application/json": {"schema": schemas.reference(route.response)}}
    elif route.media_type is not None:
        success["content"] = {route.media_type: {"schema": {"type": "string"}}}
    responses = {str(route.status): success}
    by_status: dict[int, list[type[DevFlowError]]] = {}
    for error in sorted(set(route.possible_errors()), key=lambda error: error.__name__):
        by_status.setdefault(status_for(error), []).append(error)
    for status, errors in sorted(by_status.items()):
        name = ".".join(error.__name__ for error in errors)
        refusals[name] = _error_response(status, errors)
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return responses


def _error_response(status: int, errors: list[type[DevFlowError]]) -> Json:
    headers = _headers(*_HEADERS_BY_STATUS.get(status, ()))
    if status not in (401, 429):
        headers |= {name: {"$ref": f"#/components/headers/{name}.sometimes"} for name in _QUOTA_HEADERS}
    said = {"error": {"enum": sorted({error.title for error in errors})}, "statusCode": {"const": status}}
    return {
        "description": "\n".join(f"- {error.title}: {' '.join((error.__doc__ or '').split())}" for error in errors),
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error", "properties": said}}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}
