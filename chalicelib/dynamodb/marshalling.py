"""Items as DynamoDB writes them, `{"name": {"S": "..."}}`, and as we do: plain Python values.

Whole numbers are ints. There are texts, numbers, truth values, nothing, lists, maps, and sets of texts.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from pynamodb.models import Model

from chalicelib.core.settings import settings

Row = dict[str, Any]


def shard(key: str) -> int:
    """Where in an index of the sweep what has this key stands: the same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2s(key.encode()).digest()[:4]) % settings.shards


def not_expired(row: Row, now: int) -> bool:
    """Whether a row is still within its time; DynamoDB removes expired ones only within days."""
    expires = row.get("expiresAt")
    return expires is None or expires * 1_000 > now


class Item(NamedTuple):
    """Some attributes of an item, under the names that its model has for them; None is none.

    The key alone, to say which item is meant, or all, to store it. PynamoDB's own object of a model can do more, and
    takes ten times as long.
    """

    model: type[Model]
    values: Mapping[str, Any]

    def key(self) -> dict[str, Any]:
        """The key, as DynamoDB writes it."""
        return {stored: encode(self.values[name]) for name, stored in _layout(self.model).key}

    def to_dynamodb(self) -> dict[str, Any]:
        """The item, as DynamoDB writes it. Raises ValueError where the model wants more."""
        layout = _layout(self.model)
        given = {name: value for name, value in self.values.items() if value is not None}
        if not layout.required <= given.keys():
            raise ValueError(f"{self.model.__name__} without {sorted(layout.required - given.keys())}")
        return {layout.stored[name]: encode(value) for name, value in given.items()}


class _Layout(NamedTuple):
    """What a model says of its attributes, by their names."""

    key: tuple[tuple[str, str], ...]
    """Name in the model and in the table; hash key first."""
    stored: dict[str, str]
    required: frozenset[str]


@cache
def _layout(model: type[Model]) -> _Layout:
    attributes = model.get_attributes()
    key = sorted(
        (not each.is_hash_key, name) for name, each in attributes.items() if each.is_hash_key or each.is_range_key
    )
    return _Layout(
        tuple((name, attributes[name].attr_name) for _, name in key),
        {name: each.attr_name for name, each in attributes.items()},
        frozenset(name for name, each in attributes.items() if not each.null),
    )


def key_names(model: type[Model]) -> tuple[str, ...]:
    """The names of a model's key, hash first."""
    return tuple(name for name, _ in _layout(model).key)


def decode(item: Mapping[str, Any]) -> Row:
    """A stored item as a dict of Python values."""
    return {
        name: value if tag == "S" else _DECODERS[tag](value)  # most are texts
        for name, tagged in item.items()
        for tag, value in tagged.items()
    }


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _decode_list(values: list[dict[str, Any]]) -> list[Any]:
    return [_DECODERS[tag](value) for tagged in values for tag, value in tagged.items()]


def _identity(value: Any) -> Any:
    return value


_DECODERS: dict[str, Any] = {
    "S": _identity,
    "N": _number,
    "BOOL": _identity,
    "NULL": lambda _: None,
    "L": _decode_list,
    "M": decode,
    "SS": _identity,
}


def encode(value: Any) -> dict[str, Any]:
    """A Python value as DynamoDB writes it. Raises TypeError for what there is none of."""
    kind = type(value)
    encoder = _ENCODERS.get(kind) or next((each for base, each in _ENCODERS.items() if issubclass(kind, base)), None)
    if encoder is None:
        raise TypeError(f"DynamoDB is not given any {kind.__name__}")
    return encoder(value)


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    str: lambda value: {"S": value},
    bool: lambda value: {"BOOL": value},
    int: lambda value: {"N": str(value)},
    float: lambda value: {"N": repr(value)},
    type(None): lambda _: {"NULL": True},
    dict: lambda value: {"M": {name: encode(each) for name, each in value.items()}},
    list: lambda value: {"L": [encode(each) for each in value]},
    set: lambda value: {"SS": sorted(value)},
}
