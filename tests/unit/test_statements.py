"""chalicelib/dynamodb/expressions.py: templates render what PynamoDB renders."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.attributes import (
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.constants import ATTRIBUTE_TYPES
from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.update import Action, Update
from pynamodb.models import Model

from chalicelib.dynamodb import expressions
from chalicelib.dynamodb.expressions import (
    Clause,
    clause,
    equals,
    exists,
    is_in,
    less_than,
    not_exists,
    remove,
    render,
    set_value,
)


class Thing(Model):
    """A row with an attribute of every kind that the product has."""

    class Meta:
        table_name = "things"

    pk = UnicodeAttribute(hash_key=True)
    text = UnicodeAttribute()
    number = NumberAttribute(attr_name="theNumber")
    other = NumberAttribute()
    flag = BooleanAttribute()
    map: Any = MapAttribute()
    list: Any = ListAttribute()
    tags: Any = UnicodeSetAttribute()


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was put into words before."""
    monkeypatch.setattr(expressions, "_templates", {})


def update(*actions: Clause, where: Clause | None = None) -> str:
    """An update as rendered, with names and values in place of their placeholders."""
    return _inlined(render(("UpdateExpression", actions), ("ConditionExpression", [] if where is None else [where])))


def by_pynamodb(*actions: Action, where: Condition) -> str:
    """The same update as PynamoDB itself serializes it."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    rendered: dict[str, Any] = {
        "UpdateExpression": Update(*actions).serialize(names, values),
        "ConditionExpression": where.serialize(names, values),
        "ExpressionAttributeNames": {place: name for name, place in names.items()},
        "ExpressionAttributeValues": values,
    }
    return _inlined(rendered)


def _inlined(said: dict[str, Any]) -> str:
    names, values = said.get("ExpressionAttributeNames", {}), said.get("ExpressionAttributeValues", {})
    text = " IF ".join(said[name] for name in ("UpdateExpression", "ConditionExpression") if name in said)
    used = set(re.findall(r"[#:]\d+", text))
    assert used == names.keys() | values.keys(), said  # DynamoDB refuses what is not used
    return re.sub(r"[#:]\d+", lambda match: _spelled(match[0], names, values), text)


def _spelled(place: str, names: dict[str, str], values: dict[str, Any]) -> str:
    return names[place] if place in names else json.dumps(values[place], sort_keys=True)


@clause
def counted(slot: str, limit: int) -> Condition:
    new_or_below: Condition = Thing.map[slot].does_not_exist() | (Thing.map[slot] < limit)
    return new_or_below


@clause
def one_more(slot: str) -> Iterator[Action]:
    yield Thing.map[slot].set((Thing.map[slot] | 0) + 1)


@clause
def held(task: str, hold: dict[str, Any], step: str) -> list[Action]:
    return [Thing.map[task].set(hold), Thing.map[task]["step"].set(step), Thing.list.set(Thing.list | [])]


@clause
def roomy(most: int, least: int, word: str) -> Condition:
    fits = (size(Thing.map) <= most) & Thing.other.between(least, most)
    whole: Condition = fits & ~Thing.list.contains(word) & Thing.text.startswith(word)
    return whole


TEXTS, NUMBERS = st.text(max_size=8), st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z0-9._:-]{1,12}", fullmatch=True).filter(lambda name: "[" not in name)
KEYS = TEXTS.filter(lambda key: key not in ATTRIBUTE_TYPES)
"""PynamoDB itself would take `{"L": []}` for a value that is written in DynamoDB's way already."""
PLAIN = st.recursive(
    TEXTS | NUMBERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(TEXTS, NUMBERS, st.booleans(), st.dictionaries(KEYS, PLAIN, max_size=3)), min_size=2))
def test_it_says_for_any_values_what_pynamodb_says(rows: list[tuple[str, float, bool, dict[str, Any]]]) -> None:
    for text, number, flag, content in rows:
        prepared = update(
            set_value(Thing.text, text),
            set_value(Thing.number, number),
            remove(Thing.other),
            set_value(Thing.flag, flag),
            set_value(Thing.map, content),
            where=equals(Thing.text, text)
            & is_in(Thing.number, number, 1)
            & not_exists(Thing.other)
            & exists(Thing.pk),
        )
        plain = by_pynamodb(
            Thing.text.set(text),
            Thing.number.set(number),
            Thing.other.remove(),
            Thing.flag.set(flag),
            Thing.map.set(content),
            where=(Thing.text == text)
            & Thing.number.is_in(number, 1)
            & Thing.other.does_not_exist()
            & Thing.pk.exists(),
        )
        assert prepared == plain
    assert len(expressions._templates) == 1


@given(st.lists(st.tuples(NAMES, NAMES, NUMBERS), min_size=2))
def test_a_value_may_be_a_name_on_a_path(rows: list[tuple[str, str, int]]) -> None:
    expressions._templates.clear()
    for slot, task, number in rows:
        prepared = update(
            one_more(slot), held(task, {"attempt": number}, slot), where=counted(slot, number) & roomy(number, 1, task)
        )
        fits = (size(Thing.map) <= number) & Thing.other.between(1, number)
        plain = by_pynamodb(
            Thing.map[slot].set((Thing.map[slot] | 0) + 1),
            Thing.map[task].set({"attempt": number}),
            Thing.map[task]["step"].set(slot),
            Thing.list.set(Thing.list | []),
            where=(Thing.map[slot].does_not_exist() | (Thing.map[slot] < number))
            & (fits & ~Thing.list.contains(task) & Thing.text.startswith(task)),
        )
        assert _loosely(prepared) == _loosely(plain)
    assert len(expressions._templates) == 1


def _loosely(text: str) -> str:
    """Without brackets: `&` of three may be written either way."""
    return text.replace("(", "").replace(")", "")


def test_an_attribute_belongs_to_the_words_of_a_clause() -> None:
    assert update(set_value(Thing.number, 1)) == 'SET theNumber = {"N": "1"}'
    assert update(set_value(Thing.other, 1)) == 'SET other = {"N": "1"}'


def test_so_does_how_many_values_there_are() -> None:
    assert update(remove(Thing.text), where=is_in(Thing.text, "a")).endswith('text IN ({"S": "a"})')
    assert update(remove(Thing.text), where=is_in(Thing.text, "a", "b")).endswith('text IN ({"S": "a"}, {"S": "b"})')


def test_one_clause_can_stand_twice_in_a_statement() -> None:
    told = update(held("a", {"attempt": 1}, "x"), held("b", {"attempt": 2}, "y"))
    assert 'map.a = {"M": {"attempt": {"N": "1"}}}, map.a.step = {"S": "x"}' in told
    assert 'map.b = {"M": {"attempt": {"N": "2"}}}, map.b.step = {"S": "y"}' in told


@given(st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS), min_size=2))
def test_either_of_two_conditions_renders_as_pynamodb_does(rows: list[tuple[float, float, str]]) -> None:
    for low, high, text in rows:
        either = (less_than(Thing.number, low) & equals(Thing.text, text)) | not_exists(Thing.other)
        rendered = update(remove(Thing.flag), where=either | equals(Thing.other, high))
        plain = by_pynamodb(
            Thing.flag.remove(),
            where=((Thing.number < low) & (Thing.text == text)) | Thing.other.does_not_exist() | (Thing.other == high),
        )
        assert _loosely(rendered) == _loosely(plain)


def test_a_path_made_for_one_request_is_not_confused_with_another() -> None:
    """Each `Thing.map[name]` is a new object, whose id Python may reuse."""
    for number in range(50):
        assert update(set_value(Thing.map[f"slot{number}"], number)) == f'SET map.slot{number} = {{"N": "{number}"}}'


@clause
def tagged(mark: str) -> Condition:
    found: Condition = Thing.tags.contains(mark)
    return found


def test_a_value_that_pynamodb_makes_something_else_of_is_not_lost_in_silence() -> None:
    """Of a set it looks into the value for the tag of its members."""
    with pytest.raises(TypeError, match="something else"):
        update(remove(Thing.text), where=tagged("a"))


def test_of_nothing_nothing_is_said() -> None:
    assert render(("ConditionExpression", [])) == {}


def test_what_one_request_says_does_not_leak_into_the_next() -> None:
    first = render(("UpdateExpression", [held("a", {}, "x")]))
    first["ExpressionAttributeNames"].clear()
    first["ExpressionAttributeValues"].clear()
    assert update(held("b", {}, "y")).count("map.b") == 2


def test_what_a_container_remembers_of_templates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_MAX_TEMPLATES", 10)
    for many in range(1, 25):
        update(remove(Thing.text), where=is_in(Thing.text, *["a"] * many))
    assert len(expressions._templates) <= 10
