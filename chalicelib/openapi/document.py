"""Builds the OpenAPI 3.1 document from the declarations of the routes and from their models."""

import re
from collections.abc import Sequence

from chalicelib.auth.guard import COOKIE
from chalicelib.core.errors import DevFlowError
from chalicelib.core.models import ID_PATTERN
from chalicelib.core.settings import KB, VERSION
from chalicelib.http import Access, RouteSpec, status_for
from chalicelib.openapi.json_schema import Json, JsonSchemas

DESCRIPTION = """\
The control plane for coding agents that run on your own machines.

Every error is `{"error", "message", "statusCode", "timestamp"}`, and may have `details`. Programs should switch on
`error`. The response is 404 "Not found" for an unknown address, and 405 "Method not allowed" for a method that the
address does not support. A resource of another user is a 404, like one that does not exist. Unknown fields are ignored.

A request may have an `X-Request-Id` (8 to 128 characters of `A-Z a-z 0-9 . _ : -`), which the response then returns.
Otherwise the platform generates one."""

ID_SCHEMA: Json = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}

_NON_NEGATIVE = {"type": "integer", "minimum": 0}
HEADERS: dict[str, Json] = {
    "X-Request-Id": {"description": "The id of this request in the log.", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "The number of calls that are allowed per minute.", "schema": _NON_NEGATIVE},
    "X-RateLimit-Remaining": {
        "description": "The number of calls that remain in this minute.",
        "schema": _NON_NEGATIVE,
    },
    "X-RateLimit-Reset": {"description": "The start of the next minute, in epoch seconds.", "schema": _NON_NEGATIVE},
    "Retry-After": {"description": "Seconds until the request can succeed.", "schema": _NON_NEGATIVE},
    "Upload-Offset": {"description": "The end of the stored data, in bytes.", "schema": _NON_NEGATIVE},
    "Location": {"description": "The address of the redirect.", "schema": {"type": "string"}},
}
"""Headers of responses. A component whose name ends with `.sometimes` is the same header, but optional."""

_QUOTA_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HEADERS_BY_STATUS: dict[int, tuple[str, ...]] = {
    302: ("Location",),
    416: ("Upload-Offset",),
    429: ("Retry-After", *_QUOTA_HEADERS),
    503: ("Retry-After",),
}

ERROR: Json = {
    "type": "object",
    "properties": {
        "error": {
            "type": "string",
            "description": "The title of the error, for programs to switch on. It never changes.",
        },
        "message": {"type": "string", "description": "What happened and what to do next, for people."},
        "statusCode": {"type": "integer"},
        # Without a format, so that generated clients can also read the errors that API Gateway sends.
        "timestamp": {
            "type": "string",
            "description": "UTC, ISO 8601. Errors that API Gateway sends have 24/Jan/2025:00:00:00 +0000.",
        },
        "details": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["error", "message", "statusCode", "timestamp"],
}

_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
SECURITY: dict[str, Json] = {
    "userToken": _BEARER
    | {"description": "A user's token, from a login or a personal token. It has access to everything of the user."},
    "sessionToken": _BEARER | {"description": "A user's token from a login. A personal token gets 403."},
    "registrationToken": _BEARER
    | {"description": "A registration token. It can register agents, and do nothing else."},
    "agentToken": _BEARER
    | {"description": "An agent's token. It can poll, send heartbeats, report on the agent's tasks, and submit tasks."},
    "browser": {
        "type": "apiKey",
        "in": "cookie",
        "name": f"__Host-{COOKIE}",
        "description": "The session of a browser. Only pages of the platform can use it.",
    },
}
_SECURITY_BY_ACCESS: dict[Access, tuple[str, ...]] = {
    "user": ("userToken", "browser"),
    "session": ("sessionToken", "browser"),
    "registration": ("userToken", "registrationToken", "browser"),
    "agent": ("userToken", "agentToken", "browser"),
    "authenticated": ("userToken", "agentToken", "browser"),
    "public": (),
}


def build(routes: Sequence[RouteSpec]) -> Json:
    """The OpenAPI document. Its server is relative to its own address, so it is valid on every domain and stage."""
    schemas = JsonSchemas(routes)
    paths: dict[str, Json] = {}
    error_responses: dict[str, Json] = {}
    for route in routes:
        path = paths.setdefault(route.path, _path(route.path))
        path[route.method.lower()] = _operation(route, schemas, error_responses)
    return {
        "openapi": "3.1.0",
        "info": {"title": "DevFlow", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": ".."}],
        "paths": paths,
        "components": {
            "schemas": schemas.all | {"Error": ERROR},
            "responses": error_responses,
            "headers": {name: header | {"required": True} for name, header in HEADERS.items()}
            | {f"{name}.sometimes": HEADERS[name] for name in _QUOTA_HEADERS},
            "securitySchemes": SECURITY,
        },
    }


def _path(path: str) -> Json:
    names = re.findall(r"\{(\w+)\}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": ID_SCHEMA} for name in names]
    return {"parameters": parameters} if parameters else {}


def _operation(route: RouteSpec, schemas: JsonSchemas, error_responses: dict[str, Json]) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.path.strip("/").removeprefix("api/").partition("/")[0]],
        "security": [{scheme: []} for scheme in _SECURITY_BY_ACCESS[route.access]],
    }
    limits = [
        f"{rate_limit.limit} calls per minute ({rate_limit.name})" for rate_limit in dict.fromkeys(route.rate_limits)
    ]
    if limits:  # the limit of a user, then that of an agent
        operation["description"] = "Rate limit: " + "; with an agent's token: ".join(limits) + "."
    parameters = [] if route.query is None else schemas.parameters(route.query)
    if route.idempotency_key:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A repeated request with the same key has no further effect and gets the same response.",
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
    return operation | {"responses": _responses(route, schemas, error_responses)}


def _responses(route: RouteSpec, schemas: JsonSchemas, error_responses: dict[str, Json]) -> Json:
    """The responses of a route by status. Error responses are added to `error_responses`, so that routes share them."""
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
        error_responses[name] = _error_response(status, errors)
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return responses


def _error_response(status: int, errors: list[type[DevFlowError]]) -> Json:
    headers = _headers(*_HEADERS_BY_STATUS.get(status, ()))
    if status not in (401, 429):
        headers |= {name: {"$ref": f"#/components/headers/{name}.sometimes"} for name in _QUOTA_HEADERS}
    values = {"error": {"enum": sorted({error.title for error in errors})}, "statusCode": {"const": status}}
    return {
        "description": "\n".join(f"- {error.title}: {' '.join((error.__doc__ or '').split())}" for error in errors),
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error", "properties": values}}},
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}
