"""chalicelib/dynamodb/marshalling.py: conversion between Python values and DynamoDB's item format."""

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.dynamodb.marshalling import Item, decode, encode, item_size, key_names


class Paper(Model):
    """A row with two key attributes. The range key is declared first and has another name in the table."""

    class Meta:
        table_name = "papers"

    page = NumberAttribute(range_key=True, attr_name="pageNumber")
    book = UnicodeAttribute(hash_key=True)
    text = UnicodeAttribute()
    note = UnicodeAttribute(null=True, attr_name="theNote")


VALUES = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("row", "size"),
    [
        ({"ab": "é"}, 2 + 2),
        ({"a": True, "b": None}, 1 + 1 + 1 + 1),
        ({"a": [], "b": {}}, 1 + 3 + 1 + 3),
        ({"a": ["x", "yz"]}, 1 + 3 + (1 + 1) + (1 + 2)),
        ({"a": {"k": "v"}}, 1 + 3 + (1 + 1 + 1)),
        ({"s": {"x", "yz"}}, 1 + 3),
    ],
)
def test_size_of_an_item_is_that_of_names_and_values(row: dict[str, Any], size: int) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
    assert item_size({name: encode(value) for name, value in row.items()}) == size


@pytest.mark.parametrize(("number", "size"), [(0, 1), (27, 2), (-27, 3), (1e15, 9), (0.0001, 2), (123_456_789, 6)])
def test_size_of_a_number_is_never_underestimated(number: float, size: int) -> None:
    """A byte for two digits, one more, and one for the sign. Zeros at the ends need none, but are counted here."""
    assert size <= item_size({"": encode(number)}) <= size + 5


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_decode_reverses_encode(row: dict[str, Any]) -> None:
    assert decode({name: encode(value) for name, value in row.items()}) == row


@pytest.mark.parametrize(
    ("value", "item"),
    [
        ("text", {"S": "text"}),
        (12, {"N": "12"}),
        (0.25, {"N": "0.25"}),
        (True, {"BOOL": True}),
        (None, {"NULL": True}),
        ([1, "a"], {"L": [{"N": "1"}, {"S": "a"}]}),
        ({"a": {}}, {"M": {"a": {"M": {}}}}),
        ({"b", "a"}, {"SS": ["a", "b"]}),
    ],
)
def test_each_type_has_its_tag(value: object, item: dict[str, Any]) -> None:
    assert encode(value) == item


class Colour(StrEnum):
    RED = "red"


def test_string_subclass_is_encoded_as_string() -> None:
    assert encode(Colour.RED) == {"S": "red"}


def test_unsupported_type_raises_type_error() -> None:
    with pytest.raises(TypeError, match="complex"):
        encode(1j)


def test_key_has_hash_key_first_and_names_of_the_table() -> None:
    assert key_names(Paper) == ("book", "page")
    assert Item(Paper, {"page": 1, "book": "b"}).key() == {"book": {"S": "b"}, "pageNumber": {"N": "1"}}


def test_item_omits_attributes_that_are_none() -> None:
    row = Item(Paper, {"book": "b", "page": 1, "text": "t", "note": None})
    assert row.to_dynamodb() == {"book": {"S": "b"}, "pageNumber": {"N": "1"}, "text": {"S": "t"}}


def test_item_without_required_attributes_raises_value_error() -> None:
    with pytest.raises(ValueError, match=r"Paper requires \['page', 'text'\]"):
        Item(Paper, {"book": "b", "text": None}).to_dynamodb()


def test_item_with_unknown_attribute_raises_key_error() -> None:
    with pytest.raises(KeyError):
        Item(Paper, {"book": "b", "page": 1, "text": "t", "other": 1}).to_dynamodb()
