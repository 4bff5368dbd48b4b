"""Conversion between DynamoDB's item format, `{"name": {"S": "..."}}`, and plain Python values.

Whole numbers are ints. The supported types are strings, numbers, booleans, null, lists, maps, and sets of strings.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from pynamodb.models import Model

from chalicelib.core.settings import KB, settings

Row = dict[str, Any]

MAX_ITEM_BYTES = 400 * KB
"""The maximum size of an item: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


def shard(key: str) -> int:
    """The shard of the sweep's indexes that has this key. It is the same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2s(key.encode()).digest()[:4]) % settings.shards


def not_expired(row: Row, now: int) -> bool:
    """Whether a row has not expired. DynamoDB may delete an expired row days later.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
    """
    expires = row.get("expiresAt")
    return expires is None or expires * 1_000 > now


class Item(NamedTuple):
    """Attributes of an item, under their names in the model. An attribute with the value None is absent.

    The key is enough to identify an item. To store an item, all attributes are needed. PynamoDB's own model object has
    more functions and takes ten times as long.
    """

    model: type[Model]
    values: Mapping[str, Any]

    def key(self) -> dict[str, Any]:
        """The key in DynamoDB's format."""
        return {stored: encode(self.values[name]) for name, stored in _layout(self.model).key}

    def to_dynamodb(self) -> dict[str, Any]:
        """The item in DynamoDB's format. Raises ValueError if an attribute that the model requires is missing."""
        layout = _layout(self.model)
        given = {name: value for name, value in self.values.items() if value is not None}
        if not layout.required <= given.keys():
            raise ValueError(f"{self.model.__name__} requires {sorted(layout.required - given.keys())}")
        return {layout.stored[name]: encode(value) for name, value in given.items()}


class _Layout(NamedTuple):
    """The attributes of a model, by their names in the model."""

    key: tuple[tuple[str, str], ...]
    """The key attributes, hash key first: name in the model, name in the table."""
    stored: dict[str, str]
    """The name of each attribute in the table."""
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
    """The names of the key attributes in the model, hash key first."""
    return tuple(name for name, _ in _layout(model).key)


def decode(item: Mapping[str, Any]) -> Row:
    """An item in DynamoDB's format as a dict of Python values."""
    return {
        name: value if tag == "S" else _DECODERS[tag](value)  # most values are strings
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
    """A Python value in DynamoDB's format. Raises TypeError for an unsupported type."""
    kind = type(value)
    encoder = _ENCODERS.get(kind) or next((each for base, each in _ENCODERS.items() if issubclass(kind, base)), None)
    if encoder is None:
        raise TypeError(f"a value of type {kind.__name__} cannot be stored in DynamoDB")
    return encoder(value)


def item_size(item: Mapping[str, Any]) -> int:
    """The size of an item in DynamoDB's format, in bytes as DynamoDB counts them. Numbers are rounded up a little.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(
        _text_size(name) + (_text_size(value) if tag == "S" else _SIZES[tag](value))
        for name, tagged in item.items()
        for tag, value in tagged.items()
    )


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _list_size(values: list[dict[str, Any]]) -> int:
    return 3 + sum(1 + _SIZES[tag](value) for tagged in values for tag, value in tagged.items())


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": _text_size,
    "N": lambda digits: len(digits) // 2 + 2,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "L": _list_size,
    "M": lambda item: 3 + len(item) + item_size(item),
    "SS": lambda members: sum(map(_text_size, members)),
}


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
