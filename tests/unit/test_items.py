"""chalicelib/dynamodb/marshalling.py: Python values to DynamoDB's and back."""

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.dynamodb.marshalling import Item, decode, encode, key_names


class Paper(Model):
    """A row with two keys, the range key declared first, and under another name in the table."""

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


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_is_written_is_read_again(row: dict[str, Any]) -> None:
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
def test_each_kind_of_value_has_its_tag(value: object, item: dict[str, Any]) -> None:
    assert encode(value) == item


class Colour(StrEnum):
    RED = "red"


def test_a_kind_of_text_is_a_text() -> None:
    assert encode(Colour.RED) == {"S": "red"}


def test_what_dynamodb_has_no_kind_for_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        encode(1j)


def test_a_key_has_the_hash_key_first_and_the_tables_names() -> None:
    assert key_names(Paper) == ("book", "page")
    assert Item(Paper, {"page": 1, "book": "b"}).key() == {"book": {"S": "b"}, "pageNumber": {"N": "1"}}


def test_a_whole_item_leaves_out_what_is_none() -> None:
    row = Item(Paper, {"book": "b", "page": 1, "text": "t", "note": None})
    assert row.to_dynamodb() == {"book": {"S": "b"}, "pageNumber": {"N": "1"}, "text": {"S": "t"}}


def test_an_item_without_what_its_model_wants_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"Paper without \['page', 'text'\]"):
        Item(Paper, {"book": "b", "text": None}).to_dynamodb()


def test_an_attribute_that_its_model_does_not_know_is_not_written() -> None:
    with pytest.raises(KeyError):
        Item(Paper, {"book": "b", "page": 1, "text": "t", "other": 1}).to_dynamodb()
