"""The clauses that most conditions and updates are made of. A store adds its own where these are not enough."""

from collections.abc import Mapping
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib.dynamodb.expressions import Clause, clause

# Update actions.


@clause
def set_value(attribute: Any, value: object) -> list[Action]:
    return [attribute.set(value)]


@clause
def remove(attribute: Any) -> list[Action]:
    return [attribute.remove()]


@clause
def add(attribute: Any, value: object) -> list[Action]:
    """Add to a number, or add the members of a set. The attribute must be a top-level one."""
    return [attribute.add(value)]


@clause
def delete_from(attribute: Any, members: object) -> list[Action]:
    """Delete members from a set."""
    return [attribute.delete(members)]


def set_or_remove(model: type[Model], values: Mapping[str, Any]) -> list[Clause]:
    """Set attributes by their names in the model; a value of None removes the attribute."""
    return [
        remove(getattr(model, name)) if value is None else set_value(getattr(model, name), value)
        for name, value in values.items()
    ]


# Conditions.


@clause
def equals(attribute: Any, value: object) -> Condition:
    condition: Condition = attribute == value
    return condition


@clause
def not_equals(attribute: Any, value: object) -> Condition:
    """Also true where the attribute or the whole item is absent."""
    condition: Condition = attribute != value
    return condition


@clause
def less_than(attribute: Any, value: object) -> Condition:
    condition: Condition = attribute < value
    return condition


@clause
def at_most(attribute: Any, value: object) -> Condition:
    condition: Condition = attribute <= value
    return condition


@clause
def greater_than(attribute: Any, value: object) -> Condition:
    condition: Condition = attribute > value
    return condition


@clause
def at_least(attribute: Any, value: object) -> Condition:
    condition: Condition = attribute >= value
    return condition


@clause
def between(attribute: Any, low: object, high: object) -> Condition:
    condition: Condition = attribute.between(low, high)
    return condition


@clause
def begins_with(attribute: Any, prefix: str) -> Condition:
    condition: Condition = attribute.startswith(prefix)
    return condition


@clause
def contains(attribute: Any, member: object) -> Condition:
    condition: Condition = attribute.contains(member)
    return condition


@clause
def is_in(attribute: Any, *values: object) -> Condition:
    condition: Condition = attribute.is_in(*values)
    return condition


@clause
def exists(attribute: Any) -> Condition:
    condition: Condition = attribute.exists()
    return condition


@clause
def not_exists(attribute: Any) -> Condition:
    condition: Condition = attribute.does_not_exist()
    return condition
