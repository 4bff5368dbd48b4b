"""What a request to DynamoDB says in expressions, put into words once and not for every request.

PynamoDB's models make the expressions, as everywhere; a *clause* keeps them apart from the values of one request:

    @clause
    def seen(now: int, due: int) -> list[Action]:
        return [AgentRow.seen_at.set(now), AgentRow.check_at.set(due)]

`seen(now, due)` is then that clause with these values, ready to be part of a write. The first request that is made of
certain clauses has PynamoDB write them out, with place holders for the values; all the others only fill those in. A
value may also be a name on a path (`AgentRow.held[task]`). An attribute that is handed to a clause belongs to its
words, and so does how many values there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce, wraps
from operator import and_
from typing import Any, NamedTuple, ParamSpec, Self

from pynamodb.attributes import Attribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path, Value
from pynamodb.expressions.update import Action, Update
from pynamodb.models import Model

from chalicelib.items import encode

P = ParamSpec("P")
Build = Callable[..., Any]


class Clause(NamedTuple):
    """Actions or a condition, each with the values of one request; `&` joins conditions."""

    parts: tuple[tuple[Build, tuple[Any, ...]], ...]

    def __and__(self, other: "Clause") -> "Clause":
        return Clause(self.parts + other.parts)


def clause(build: Callable[P, Iterable[Action] | Condition]) -> Callable[P, Clause]:
    """A decorator for functions that make update actions, or a condition, of values (given by position)."""

    @wraps(build)
    def valued(*values: P.args, **_: P.kwargs) -> Clause:
        return Clause(((build, values),))

    return valued


@clause
def sets(attribute: Any, value: object) -> list[Action]:
    return [attribute.set(value)]


@clause
def removes(attribute: Any) -> list[Action]:
    return [attribute.remove()]


def assigned(model: type[Model], values: Mapping[str, Any]) -> list[Clause]:
    """What sets attributes, by the names that the model has for them; None removes one."""
    return [
        removes(getattr(model, name)) if value is None else sets(getattr(model, name), value)
        for name, value in values.items()
    ]


@clause
def equals(attribute: Any, value: object) -> Condition:
    equal: Condition = attribute == value
    return equal


@clause
def one_of(attribute: Any, *values: object) -> Condition:
    found: Condition = attribute.is_in(*values)
    return found


@clause
def exists(attribute: Any) -> Condition:
    there: Condition = attribute.exists()
    return there


@clause
def absent(attribute: Any) -> Condition:
    gone: Condition = attribute.does_not_exist()
    return gone


class _Place(str, Value):  # type: ignore[misc]  # an operand where PynamoDB takes a value, a text where it takes a name
    """Stands in an expression where a request will have one of its values."""

    __slots__ = ()

    def __new__(cls, number: int) -> Self:
        return str.__new__(cls, f"{{{number}}}")

    def __init__(self, number: int) -> None:
        Value.__init__(self, {"S": number})
        self.attr_type = None  # fits wherever it is put

    @property
    def mark(self) -> Any:
        """What PynamoDB takes for the value; told from others by its identity."""
        return self.values[0]


class Statement(NamedTuple):
    """Expressions in DynamoDB's words, and where the values of a request go, by their number."""

    texts: dict[str, str]
    names: dict[str, str]
    values: dict[str, Any]
    name_places: tuple[tuple[str, int], ...]
    value_places: tuple[tuple[str, int], ...]

    def filled(self, given: Sequence[Any]) -> dict[str, Any]:
        """The part of a request that holds the expressions, for these values."""
        request: dict[str, Any] = dict(self.texts)
        names, values = dict(self.names), dict(self.values)
        for place, number in self.name_places:
            names[place] = given[number]
        for place, number in self.value_places:
            values[place] = encode(given[number])
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        return request


Expression = tuple[str, Sequence[Action | Condition | Clause]]
"""What DynamoDB calls an expression (`UpdateExpression`, ...), and what it is made of; with nothing, there is none."""

_OF_WORDS = (Attribute, Path)
"""What belongs to a clause's words and not to its values."""

_MOST = 1_000
_statements: dict[tuple[Any, ...], Statement] = {}
"""By the clauses they are made of. Bounded, so that a container never grows for ever."""


def worded(*expressions: Expression) -> dict[str, Any]:
    """The part of a request that holds these expressions. Those not made of clauses are put into words anew."""
    shape: list[Any] = []
    given: list[Any] = []
    for name, pieces in expressions:
        shape.append(name)
        for piece in pieces:
            if not isinstance(piece, Clause):
                return _written(expressions, lambda value: value).filled(())
            for build, values in piece.parts:
                shape.append(build)
                for value in values:
                    if isinstance(value, _OF_WORDS):
                        shape.append(id(value))
                    else:
                        shape.append(None)
                        given.append(value)
    key = tuple(shape)
    statement = _statements.get(key)
    if statement is None:
        if len(_statements) >= _MOST:
            _statements.clear()
        statement = _statements[key] = _prepared(expressions)
    return statement.filled(given)


def _prepared(expressions: Sequence[Expression]) -> Statement:
    """A statement with places for the values of its clauses, in their order."""
    places: list[_Place] = []

    def place(value: Any) -> Any:
        if isinstance(value, Attribute | Path):
            return value
        places.append(_Place(len(places)))
        return places[-1]

    whole = _written(expressions, place)
    found = {*whole.names.values(), *map(id, whole.values.values())}
    lost = [each for each in places if str(each) not in found and id(each.mark) not in found]
    if lost:
        raise TypeError(f"PynamoDB makes something else of the values {lost} of {expressions}")
    by_name = {str(each): number for number, each in enumerate(places)}
    by_mark = {id(each.mark): number for number, each in enumerate(places)}
    return Statement(
        whole.texts,
        {where: name for where, name in whole.names.items() if name not in by_name},
        {where: value for where, value in whole.values.items() if id(value) not in by_mark},
        tuple((where, by_name[name]) for where, name in whole.names.items() if name in by_name),
        tuple((where, by_mark[id(value)]) for where, value in whole.values.items() if id(value) in by_mark),
    )


def _written(expressions: Sequence[Expression], value: Callable[[Any], Any]) -> Statement:
    """A statement in PynamoDB's words, with `value(each)` for each value of a clause."""
    texts: dict[str, str] = {}
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, pieces in expressions:
        built = [part for piece in pieces for part in _built(piece, value)]
        if built:
            whole: Any = Update(*built) if name == "UpdateExpression" else reduce(and_, built)
            texts[name] = whole.serialize(names, values)
    return Statement(texts, {where: text for text, where in names.items()}, values, (), ())


def _built(piece: Action | Condition | Clause, value: Callable[[Any], Any]) -> Iterator[Any]:
    if not isinstance(piece, Clause):
        yield piece
        return
    for build, values in piece.parts:
        made = build(*map(value, values))
        if isinstance(made, Condition):
            yield made
        else:
            yield from made
