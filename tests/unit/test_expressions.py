"""chalicelib/dynamodb/expressions.py: templates render the same expressions as PynamoDB."""

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
from chalicelib.dynamodb.clauses import equals, exists, is_in, less_than, not_exists, remove, set_value
from chalicelib.dynamodb.expressions import Clause, clause, render


class Thing(Model):
    """A row with an attribute of every type that the platform uses."""

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
def _no_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without rendered templates."""
    monkeypatch.setattr(expressions, "_templates", {})


def render_update(*actions: Clause, where: Clause | None = None) -> str:
    """A rendered update with names and values instead of placeholders."""
    return _inlined(render(("UpdateExpression", actions), ("ConditionExpression", [] if where is None else [where])))


def by_pynamodb(*actions: Action, where: Condition) -> str:
    """The same update, serialized by PynamoDB."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    rendered: dict[str, Any] = {
        "UpdateExpression": Update(*actions).serialize(names, values),
        "ConditionExpression": where.serialize(names, values),
        "ExpressionAttributeNames": {place: name for name, place in names.items()},
        "ExpressionAttributeValues": values,
    }
    return _inlined(rendered)


def _inlined(request: dict[str, Any]) -> str:
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    text = " IF ".join(request[name] for name in ("UpdateExpression", "ConditionExpression") if name in request)
    used = set(re.findall(r"[#:]\d+", text))
    assert used == names.keys() | values.keys(), request  # DynamoDB rejects unused names and values
    return re.sub(r"[#:]\d+", lambda match: _content_of(match[0], names, values), text)


def _content_of(placeholder: str, names: dict[str, str], values: dict[str, Any]) -> str:
    return names[placeholder] if placeholder in names else json.dumps(values[placeholder], sort_keys=True)


@clause
def below_limit(slot: str, limit: int) -> Condition:
    new_or_below: Condition = Thing.map[slot].does_not_exist() | (Thing.map[slot] < limit)
    return new_or_below


@clause
def increment(slot: str) -> Iterator[Action]:
    yield Thing.map[slot].set((Thing.map[slot] | 0) + 1)


@clause
def set_claim(task_id: str, claim: dict[str, Any], step: str) -> list[Action]:
    return [Thing.map[task_id].set(claim), Thing.map[task_id]["step"].set(step), Thing.list.set(Thing.list | [])]


@clause
def within(maximum: int, minimum: int, prefix: str) -> Condition:
    fits = (size(Thing.map) <= maximum) & Thing.other.between(minimum, maximum)
    condition: Condition = fits & ~Thing.list.contains(prefix) & Thing.text.startswith(prefix)
    return condition


TEXTS, NUMBERS = st.text(max_size=8), st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z0-9._:-]{1,12}", fullmatch=True).filter(lambda name: "[" not in name)
KEYS = TEXTS.filter(lambda key: key not in ATTRIBUTE_TYPES)
"""PynamoDB would treat `{"L": []}` as a value that is already in DynamoDB's format."""
PLAIN = st.recursive(
    TEXTS | NUMBERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(TEXTS, NUMBERS, st.booleans(), st.dictionaries(KEYS, PLAIN, max_size=3)), min_size=2))
def test_templates_render_as_pynamodb_for_any_values(rows: list[tuple[str, float, bool, dict[str, Any]]]) -> None:
    for text, number, flag, content in rows:
        rendered = render_update(
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
        expected = by_pynamodb(
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
        assert rendered == expected
    assert len(expressions._templates) == 1


@given(st.lists(st.tuples(NAMES, NAMES, NUMBERS), min_size=2))
def test_value_may_be_a_name_on_a_path(rows: list[tuple[str, str, int]]) -> None:
    expressions._templates.clear()
    for slot, task, number in rows:
        rendered = render_update(
            increment(slot),
            set_claim(task, {"attempt": number}, slot),
            where=below_limit(slot, number) & within(number, 1, task),
        )
        fits = (size(Thing.map) <= number) & Thing.other.between(1, number)
        expected = by_pynamodb(
            Thing.map[slot].set((Thing.map[slot] | 0) + 1),
            Thing.map[task].set({"attempt": number}),
            Thing.map[task]["step"].set(slot),
            Thing.list.set(Thing.list | []),
            where=(Thing.map[slot].does_not_exist() | (Thing.map[slot] < number))
            & (fits & ~Thing.list.contains(task) & Thing.text.startswith(task)),
        )
        assert _without_brackets(rendered) == _without_brackets(expected)
    assert len(expressions._templates) == 1


def _without_brackets(text: str) -> str:
    """Brackets differ, because `&` of three conditions can be grouped in two ways."""
    return text.replace("(", "").replace(")", "")


def test_attribute_is_part_of_the_template() -> None:
    assert render_update(set_value(Thing.number, 1)) == 'SET theNumber = {"N": "1"}'
    assert render_update(set_value(Thing.other, 1)) == 'SET other = {"N": "1"}'


def test_number_of_values_is_part_of_the_template() -> None:
    assert render_update(remove(Thing.text), where=is_in(Thing.text, "a")).endswith('text IN ({"S": "a"})')
    assert render_update(remove(Thing.text), where=is_in(Thing.text, "a", "b")).endswith(
        'text IN ({"S": "a"}, {"S": "b"})'
    )


def test_clause_can_occur_twice_in_an_expression() -> None:
    rendered = render_update(set_claim("a", {"attempt": 1}, "x"), set_claim("b", {"attempt": 2}, "y"))
    assert 'map.a = {"M": {"attempt": {"N": "1"}}}, map.a.step = {"S": "x"}' in rendered
    assert 'map.b = {"M": {"attempt": {"N": "2"}}}, map.b.step = {"S": "y"}' in rendered


@given(st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS), min_size=2))
def test_or_of_conditions_renders_as_pynamodb(rows: list[tuple[float, float, str]]) -> None:
    for low, high, text in rows:
        either = (less_than(Thing.number, low) & equals(Thing.text, text)) | not_exists(Thing.other)
        rendered = render_update(remove(Thing.flag), where=either | equals(Thing.other, high))
        expected = by_pynamodb(
            Thing.flag.remove(),
            where=((Thing.number < low) & (Thing.text == text)) | Thing.other.does_not_exist() | (Thing.other == high),
        )
        assert _without_brackets(rendered) == _without_brackets(expected)


def test_paths_of_different_requests_are_not_confused() -> None:
    """Each `Thing.map[name]` is a new object, and Python may reuse its id."""
    for number in range(50):
        assert (
            render_update(set_value(Thing.map[f"slot{number}"], number))
            == f'SET map.slot{number} = {{"N": "{number}"}}'
        )


@clause
def has_tag(tag: str) -> Condition:
    condition: Condition = Thing.tags.contains(tag)
    return condition


def test_value_that_pynamodb_replaces_raises_type_error() -> None:
    """For a set PynamoDB replaces the value, because it looks for the type tag of the members."""
    with pytest.raises(TypeError, match="something else"):
        render_update(remove(Thing.text), where=has_tag("a"))


def test_expression_without_clauses_is_omitted() -> None:
    assert render(("ConditionExpression", [])) == {}


def test_changes_to_one_request_do_not_affect_the_next() -> None:
    first = render(("UpdateExpression", [set_claim("a", {}, "x")]))
    first["ExpressionAttributeNames"].clear()
    first["ExpressionAttributeValues"].clear()
    assert render_update(set_claim("b", {}, "y")).count("map.b") == 2


def test_number_of_templates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_MAX_TEMPLATES", 10)
    for count in range(1, 25):
        render_update(remove(Thing.text), where=is_in(Thing.text, *["a"] * count))
    assert len(expressions._templates) <= 10
