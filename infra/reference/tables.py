"""Tables of one operation of an OpenAPI document, in Markdown."""

from collections.abc import Iterator
from typing import Any

from infra.reference.types import Json, limit_of, named, nullable_part, phrase

COMMON = {
    "Invalid request",
    "Missing required fields",
    "Invalid JSON",
    "Invalid or expired token",
    "Agent token expired or invalid",
    "Insufficient permissions",
    "Request too large",
    "Unsupported content type",
    "Too many requests",
    "Internal error",
    "Temporarily unavailable",
}
"""Errors that many operations have. The page explains them once; an operation only lists their status."""

_COMMON_CAUSES = {"The request is not valid. Correct it before you send it again."}
"""The cause of an error in COMMON, where the same title has other causes too."""

_SPECIFIC = ("Invalid request",)
"""Titles in COMMON of which one operation may have a cause of its own."""

LIST_FIELDS = {"data", "total", "limit", "offset", "hasMore", "nextCursor", "totalCapped"}
_LIST_PARAMETERS = {"limit", "offset", "cursor"}

_TOKENS = {
    (): "none",
    ("userToken", "browser"): "user",
    ("sessionToken", "browser"): "user, from a login (not a personal token)",
    ("userToken", "registrationToken", "browser"): "user, or registration token",
    ("userToken", "agentToken", "browser"): "user or agent",
}


def index(document: Json, anchors: dict[str, str]) -> str:
    """Every operation of the API: where it is described, which token it takes, and what it does."""
    lines = ["| Operation | Token | |", "|---|---|---|"]
    for address, operation in operations(document):
        linked = f"[`{address}`](#{anchors[address]})" if address in anchors else f"`{address}`"
        lines.append(f"| {linked} | {_token(operation)} | {operation['summary']} |")
    return "\n".join(lines)


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Every operation for programs, by path: `POST /api/tasks` and what the document has of it. No pages."""
    for path, item in document["paths"].items():
        if path.startswith("/api/") or path == "/health":
            for method in ("get", "post", "patch", "delete"):
                if method in item:
                    yield f"{method.upper()} {path}", item[method]


def operation(document: Json, described: Json) -> str:
    """All of one operation: what it needs, its parameters, its body, its response, and its errors."""
    parts = [
        _needs(described),
        _parameters(described),
        _titled("Request body", body(document, described)) if "requestBody" in described else "",
        _titled(f"Response {_success(described)}", _response_of_operation(document, described)),
        _errors(document, described),
    ]
    return "\n\n".join(part for part in parts if part)


def body(document: Json, described: Json) -> str:
    """The fields of the request body."""
    schema = _resolved(document, described["requestBody"]["content"]["application/json"]["schema"])
    required = schema.get("required", [])
    rows = [
        (f"`{name}`", _default(field, required=name in required), phrase(field), field.get("description", ""))
        for name, field in schema["properties"].items()
    ]
    return _table(("Field", "Default", "Type", "Description"), rows)


def limits(document: Json, described: list[Json]) -> str:
    """The limits of the fields of several request bodies: each field once, unless its limits differ."""
    found: dict[str, list[str]] = {}
    for each in described:
        schema = _resolved(document, each["requestBody"]["content"]["application/json"]["schema"])
        for name, field in schema["properties"].items():
            limit = limit_of(nullable_part(field))
            if limit and f"`{name}`" not in found.setdefault(limit, []):
                found[limit].append(f"`{name}`")
    return _table(("Fields", "Limit"), [(", ".join(names), limit) for limit, names in found.items()])


def response(document: Json, described: Json) -> str:
    """The fields of the response; a list is described by what is in it."""
    content = described["responses"][_success(described)].get("content", {})
    if "application/json" not in content:
        return ""
    schema = _resolved(document, content["application/json"]["schema"])
    return _schema(document, schema)


def _response_of_operation(document: Json, described: Json) -> str:
    """The same, but an object that has a section of its own is only linked."""
    content = described["responses"][_success(described)].get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    linked = named(schema)
    return f"{_article(linked).capitalize()} {linked}." if linked.startswith("[") else response(document, described)


def _schema(document: Json, schema: Json) -> str:
    properties = schema.get("properties", {})
    if not properties:
        return ""
    if properties.keys() >= LIST_FIELDS:
        items = named(properties["data"]["items"])
        more = {name: field for name, field in properties.items() if name not in LIST_FIELDS}
        intro = f"A [list](api.md#lists). Each element of `data` is {_article(items)} {items}"
        rows = list(_fields(document, more)) if more else []
        if not _is_linked(properties["data"]["items"]):
            rows = [*_fields(document, properties["data"]["items"], "data[]."), *rows]
            intro = "A [list](api.md#lists)"
        table = _table(("Field", "Type", "Description"), rows) if rows else ""
        return f"{intro}.\n\n{table}" if table else f"{intro}."
    return _table(("Field", "Type", "Description"), list(_fields(document, properties)))


def _article(text: str) -> str:
    return "an" if text.strip("[`").startswith(("a", "e", "i", "o")) else "a"


def _fields(document: Json, what: Json, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Rows of fields: an object that has no section of its own is followed by its own fields."""
    properties = _resolved(document, what).get("properties", {}) if "$ref" in what else what
    for name, field in properties.items():
        yield f"`{prefix}{name}`", phrase(field), field.get("description", "")
        inner = nullable_part(field)
        many = inner.get("type") == "array"
        inner = inner["items"] if many else inner
        if "$ref" in inner and not _is_linked(inner):
            yield from _fields(document, inner, f"{prefix}{name}{'[]' if many else ''}.")


def _is_linked(field: Json) -> bool:
    return named(field).startswith("[")


def _needs(described: Json) -> str:
    lines = [f"- Token: {_token(described)}."]
    if "description" in described:
        lines.append(f"- {described['description']}")
    if "requestBody" in described:
        size = described["requestBody"]["description"]
        lines.append(f"- Body: {size[0].lower()}{size[1:]}")
    if any(each["in"] == "header" for each in described.get("parameters", [])):
        lines.append("- Accepts [`Idempotency-Key`](api.md#idempotency).")
    return "\n".join(lines)


def _token(described: Json) -> str:
    return _TOKENS[tuple(name for each in described["security"] for name in each)]


def _parameters(described: Json) -> str:
    query = {each["name"]: each for each in described.get("parameters", []) if each["in"] == "query"}
    if not query:
        return ""
    if query.keys() >= _LIST_PARAMETERS:
        query = {name: each for name, each in query.items() if name not in _LIST_PARAMETERS}
        if not query:
            return "Parameters: those of every [list](api.md#lists)."
        title = "Parameters, besides those of every [list](api.md#lists)"
    else:
        title = "Parameters"
    rows = []
    for name, each in query.items():
        schema = each["schema"]
        text = each.get("description") or schema.get("description", "")
        rows.append((f"`{name}`", _default(schema, required=each["required"]), phrase(schema), text))
    return _titled(title, _table(("Parameter", "Default", "Type", "Description"), rows))


def _default(field: Json, *, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    if default is None:
        return "optional"
    if isinstance(default, list):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _success(described: Json) -> str:
    responses: Json = described["responses"]
    return min(responses, key=int)


def _errors(document: Json, described: Json) -> str:
    rows, common = [], []
    for status, found in described["responses"].items():
        if status == _success(described):
            continue
        for line in _resolved(document, found)["description"].split("\n"):
            title, _, cause = line.removeprefix("- ").partition(": ")
            specific = title in _SPECIFIC and cause not in _COMMON_CAUSES
            if title in COMMON and not specific:
                common.append(status)
            else:
                rows.append((status, title, cause))
    also = f"[Common errors](api.md#errors): {', '.join(dict.fromkeys(common))}."
    return (_titled("Errors", _table(("Status", "`error`", "Meaning"), rows)) + "\n\n" if rows else "") + also


def _titled(title: str, content: str) -> str:
    if not content:
        return ""
    if content.startswith("|"):
        return f"{title}:\n\n{content}"
    return f"{title}: {content[0].lower()}{content[1:]}"


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _resolved(document: Json, what: Json) -> Json:
    while "$ref" in what:
        *path, name = what["$ref"].removeprefix("#/").split("/")
        found = document
        for part in path:
            found = found[part]
        what = found[name]
    return what
