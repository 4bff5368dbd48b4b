"""Conditions and updates in DynamoDB's expression syntax, rendered once and not for every request.

Every store describes its conditions and updates with *clauses*. A clause keeps what does not change (attributes,
operators) apart from the values of one request:

    @clause
    def record_seen(now: int, due: int) -> list[Action]:
        return [AgentRow.seen_at.set(now), AgentRow.check_at.set(due)]

`record_seen(now, due)` is that clause with these values, ready to be part of a write. `clauses.py` has the common
ones (`equals`, `set_value`, ...). `&` and `|` join conditions.

PynamoDB renders the first request that has certain clauses, with placeholders for the values. Later requests with the
same clauses only fill in the placeholders. A value may also be a name on a path (`AgentRow.claims[task_id]`). An
attribute that is passed to a clause belongs to the part that does not change, and so does the number of values.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce, wraps
from operator import and_, or_
from typing import Any, NamedTuple, ParamSpec, Self

from pynamodb.attributes import Attribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path, Value
from pynamodb.expressions.update import Action, Update

from chalicelib.dynamodb.marshalling import encode

P = ParamSpec("P")
Build = Callable[..., Any]


class Clause(NamedTuple):
    """Update actions or a condition, each with the values of one request; `&` and `|` join conditions."""

    parts: tuple[tuple[Build, tuple[Any, ...]], ...]

    def __and__(self, other: "Clause") -> "Clause":
        return Clause(self.parts + other.parts)

    def __or__(self, other: "Clause") -> "Clause":
        sides = tuple(tuple((build, len(values)) for build, values in side.parts) for side in (self, other))
        values = tuple(value for side in (self, other) for _, part_values in side.parts for value in part_values)
        return Clause(((_AnyOf(sides), values),))


@dataclass(frozen=True)
class _AnyOf:
    """Builds `left | right` from the functions of both sides, each with its number of values."""

    sides: tuple[tuple[tuple[Build, int], ...], ...]

    def __call__(self, *values: Any) -> Condition:
        remaining = iter(values)
        conditions: list[Condition] = [
            reduce(and_, [build(*(next(remaining) for _ in range(count))) for build, count in side])
            for side in self.sides
        ]
        return reduce(or_, conditions)


def clause(build: Callable[P, Iterable[Action] | Condition]) -> Callable[P, Clause]:
    """A decorator for functions that create update actions, or a condition, from positional values."""

    @wraps(build)
    def with_values(*values: P.args, **_: P.kwargs) -> Clause:
        return Clause(((build, values),))

    return with_values


class _Placeholder(str, Value):  # type: ignore[misc]  # PynamoDB takes it as an operand and as the name of a path
    """Marks the place in an expression where a request puts one of its values."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        return str.__new__(cls, f"{{{number}}}")

    def __init__(self, number: int) -> None:
        Value.__init__(self, {"S": number})
        self.attr_type = None  # compatible with any attribute

    @property
    def mark(self) -> Any:
        """The object that PynamoDB puts in place of the value; compared by identity."""
        return self.values[0]


class ExpressionTemplate(NamedTuple):
    """Rendered expressions, and the numbers of the values that a request puts into their placeholders."""

    texts: dict[str, str]
    names: dict[str, str]
    values: dict[str, Any]
    name_places: tuple[tuple[str, int], ...]
    value_places: tuple[tuple[str, int], ...]
    attributes: tuple[Any, ...] = ()
    """The attributes that identify this template. It refers to them so that Python does not reuse their `id()`."""

    def fill(self, given_values: Sequence[Any]) -> dict[str, Any]:
        """The expression parameters of a request with these values."""
        request: dict[str, Any] = dict(self.texts)
        names, values = dict(self.names), dict(self.values)
        for place, number in self.name_places:
            names[place] = given_values[number]
        for place, number in self.value_places:
            values[place] = encode(given_values[number])
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        return request


Expression = tuple[str, Sequence[Clause]]
"""DynamoDB's name of an expression (`UpdateExpression`, ...) and its clauses. Without clauses it is omitted."""

_ATTRIBUTES = (Attribute, Path)
"""Types whose objects belong to the template and are not values of a request."""

_MAX_TEMPLATES = 1_000
_templates: dict[tuple[Any, ...], ExpressionTemplate] = {}
"""Templates by their clauses. Their number is limited, so that a container does not use more and more memory."""


def render(*expressions: Expression) -> dict[str, Any]:
    """The expression parameters of a request: `{"UpdateExpression": ..., "ExpressionAttributeNames": ..., ...}`."""
    key_parts: list[Any] = []
    given_values: list[Any] = []
    for name, clauses in expressions:
        key_parts.append(name)
        for each in clauses:
            for build, values in each.parts:
                key_parts.append(build)
                for value in values:
                    if isinstance(value, _ATTRIBUTES):
                        key_parts.append(id(value))
                    else:
                        key_parts.append(None)
                        given_values.append(value)
    key = tuple(key_parts)
    template = _templates.get(key)
    if template is None:
        if len(_templates) >= _MAX_TEMPLATES:
            _templates.clear()
        template = _templates[key] = _build_template(expressions)
    return template.fill(given_values)


def _build_template(expressions: Sequence[Expression]) -> ExpressionTemplate:
    """Create a template with one placeholder for each value of the clauses, in the same order."""
    placeholders: list[_Placeholder] = []
    attributes: list[Any] = []

    def replace(value: Any) -> Any:
        if isinstance(value, _ATTRIBUTES):
            attributes.append(value)
            return value
        placeholders.append(_Placeholder(len(placeholders)))
        return placeholders[-1]

    rendered = _serialize(expressions, replace)
    found = {*rendered.names.values(), *map(id, rendered.values.values())}
    missing = [each for each in placeholders if str(each) not in found and id(each.mark) not in found]
    if missing:
        raise TypeError(f"PynamoDB replaced the placeholders {missing} of {expressions} by something else")
    by_name = {str(each): number for number, each in enumerate(placeholders)}
    by_mark = {id(each.mark): number for number, each in enumerate(placeholders)}
    return ExpressionTemplate(
        rendered.texts,
        {place: name for place, name in rendered.names.items() if name not in by_name},
        {place: value for place, value in rendered.values.items() if id(value) not in by_mark},
        tuple((place, by_name[name]) for place, name in rendered.names.items() if name in by_name),
        tuple((place, by_mark[id(value)]) for place, value in rendered.values.items() if id(value) in by_mark),
        tuple(attributes),
    )


def _serialize(expressions: Sequence[Expression], replace: Callable[[Any], Any]) -> ExpressionTemplate:
    """Expressions rendered by PynamoDB, with `replace(value)` in place of each value of a clause."""
    texts: dict[str, str] = {}
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, clauses in expressions:
        parts = [part for each in clauses for part in _build(each, replace)]
        if parts:
            expression: Any = Update(*parts) if name == "UpdateExpression" else reduce(and_, parts)
            texts[name] = expression.serialize(names, values)
    return ExpressionTemplate(texts, {place: name for name, place in names.items()}, values, (), ())


def _build(given: Clause, replace: Callable[[Any], Any]) -> Iterator[Any]:
    """PynamoDB's conditions or update actions of a clause."""
    for build, values in given.parts:
        result = build(*map(replace, values))
        if isinstance(result, Condition):
            yield result
        else:
            yield from result
