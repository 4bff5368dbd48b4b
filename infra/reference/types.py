"""JSON schemas in words."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

PATTERNS = {
    "^[A-Za-z0-9._:-]{1,128}$": "[id](api.md#ids-times-and-sizes)",
    "^[A-Za-z0-9._:-]{1,64}$": "string (1 to 64 of `A-Z a-z 0-9 . _ : -`)",
    "^[0-9]{6}$": "string of 6 digits",
    "^[A-Za-z0-9_-]{43}$": "string of 43 characters",
    r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$": "email address",
    r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$": "email address in ASCII",
}
"""What each pattern of the models means. An unknown one is an error, so that no page shows a regular expression."""

NOT_BLANK = r"[^\s\x85]"

SECTIONS = {
    "AgentResponse": "[agent](api.md#the-agent-object)",
    "TaskSummary": "[task](api.md#the-task-object)",
    "TaskDetail": "[task](api.md#the-task-object)",
    "WebhookResponse": "[webhook](api.md#the-webhook-object)",
}
"""Objects that have a section of their own."""


def named(schema: Json) -> str:
    """What a reference leads to: a link where it has a section of its own."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return SECTIONS.get(name, "object")


def nullable_part(schema: Json) -> Json:
    """A schema without the `null` that it may be."""
    options = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def phrase(schema: Json) -> str:
    """A schema in a few words: its type and its limits."""
    if "$ref" in schema:
        return named(schema)
    if "anyOf" in schema:
        words = [phrase(each) for each in schema["anyOf"] if each != {"type": "null"}]
        words = list(dict.fromkeys(words))
        nullable = {"type": "null"} in schema["anyOf"]
        separate = nullable and any(sign in word for word in words for sign in ",;(")
        return " or ".join(words) + ("; or `null`" if separate else " or `null`" if nullable else "")
    if "enum" in schema:
        return f"one of {', '.join(f'`{each}`' for each in schema['enum'])}"
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any JSON value")
    makers: dict[str, Callable[[Json], str]] = {
        "string": _string,
        "integer": _number,
        "number": _number,
        "array": _array,
        "object": _object,
    }
    return makers[kind](schema) if kind in makers else str(kind)


def limit_of(schema: Json) -> str:
    """A schema in a few words, if it limits the values of its type; else nothing."""
    words = phrase(schema)
    return words if any(sign in words for sign in (" to ", "[id]", "characters")) else ""


def _string(schema: Json) -> str:
    if schema.get("format") == "date-time":
        return "[time](api.md#ids-times-and-sizes)"
    pattern = schema.get("pattern")
    base = "string"
    if pattern is not None and pattern != NOT_BLANK:
        base = PATTERNS[pattern]
    elif schema.get("format") == "uri":
        base = "URL"
    limits = []
    if "maxLength" in schema:
        least = schema.get("minLength", 0)
        range_ = f"{least} to" if least else "up to"
        limits.append(f"{range_} {schema['maxLength']} characters")
    if pattern == NOT_BLANK:
        limits.append("not blank")
    return ", ".join([base, *limits])


def _number(schema: Json) -> str:
    if "maximum" not in schema:
        return str(schema["type"])
    return f"{schema['type']}, {_plain(schema['minimum'])} to {_plain(schema['maximum'])}"


def _plain(number: float) -> str:
    powers = {10**15: "10^15", 2**40: "2^40"}
    return powers.get(int(number), str(int(number)))


_PLURALS = {
    "object": "objects",
    "string": "strings",
    "string (1 to 64 of `A-Z a-z 0-9 . _ : -`)": "strings (each 1 to 64 of `A-Z a-z 0-9 . _ : -`)",
    "[id](api.md#ids-times-and-sizes)": "[ids](api.md#ids-times-and-sizes)",
}


def _array(schema: Json) -> str:
    items = schema.get("items") or {}
    words = f"array of {_PLURALS.get(phrase(items), phrase(items))}" if items else "array"
    if "maxItems" in schema:
        least = schema.get("minItems", 0)
        words += f"; {least} to {schema['maxItems']} elements" if least else f"; up to {schema['maxItems']} elements"
    return words


def _object(schema: Json) -> str:
    values = schema.get("additionalProperties")
    if not isinstance(values, dict):
        return "object"
    keys = schema.get("propertyNames", {}).get("enum")
    words = f"object of {values['type']} values"
    return f"{words}, by {', '.join(f'`{each}`' for each in keys)}" if keys else words
