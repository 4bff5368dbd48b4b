"""chalicelib/dynamodb/operations.py: retries, conditions and errors, over moto."""

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import VerboseClientError
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.core.errors import Unavailable
from chalicelib.dynamodb import marshalling
from chalicelib.tasks import tables
from tests.service import faults
from tests.support import wire


class Note(Model):
    """A row of no feature, in a table with two keys."""

    class Meta:
        table_name = tables.TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    text = UnicodeAttribute(null=True)
    number = NumberAttribute(null=True)


@pytest.fixture(autouse=True)
def _tables(aws: None) -> None:
    """Every test begins with empty tables."""


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, noted instead of slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def note(name: str, **values: Any) -> dynamodb.Item:
    return dynamodb.item(Note, pk="p", sk=name, **values)


def texts() -> dict[str, Any]:
    page = dynamodb.query(Note, "p", limit=100, consistent=True)
    return {row["sk"]: row.get("text") for row in page.rows}


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ({"S": "text"}, "text"),
        ({"N": "12"}, 12),
        ({"N": "-12"}, -12),
        ({"N": "1763938000123"}, 1763938000123),
        ({"N": "0.25"}, 0.25),
        ({"N": "-0.5"}, -0.5),
        ({"N": "1E-7"}, 1e-7),
        ({"BOOL": True}, True),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"L": [{"S": "a"}, {"N": "1"}]}, ["a", 1]),
        ({"M": {"a": {"M": {"b": {"N": "1"}}}}}, {"a": {"b": 1}}),
        ({"L": []}, []),
        ({"M": {}}, {}),
    ],
)
def test_a_stored_value_becomes_the_python_value_it_was(stored: dict[str, Any], value: object) -> None:
    decoded = marshalling.decode({"x": stored})["x"]
    assert decoded == value
    assert type(decoded) is type(value)


def test_an_item_that_is_not_there_is_none() -> None:
    assert dynamodb.get_item(Note, "p", "nothing") is None


def test_a_read_is_consistent() -> None:
    with wire.recorded() as sent:
        dynamodb.get_item(Note, "p", "x")
    assert sent[0].params["ConsistentRead"] is True


def test_a_conflict_on_one_item_is_asked_again_until_the_other_writer_is_done() -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", number=1)))
    with faults.refused("UpdateItem", "TransactionConflictException", times=3), wire.recorded() as sent:
        row = dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert row["number"] == 2
    assert sent.operations == ["UpdateItem"] * 4


def test_a_read_that_meets_a_transaction_is_asked_again(no_pauses: list[float]) -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="there")))
    with faults.refused("GetItem", "TransactionInProgressException", times=2):
        row = dynamodb.get_item(Note, "p", "x")
    assert row is not None
    assert row["text"] == "there"


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_cancelled_for_other_writers_alone_is_asked_again_with_the_same_token(code: str) -> None:
    reasons = [{"Code": code}, {}]
    with (
        faults.refused("TransactWriteItems", "TransactionCanceledException", times=2, reasons=reasons),
        wire.recorded() as sent,
    ):
        dynamodb.transact_write(dynamodb.transact_put(note("x", text="x")), dynamodb.transact_put(note("y", text="y")))
    assert texts() == {"x": "x", "y": "y"}
    assert len(sent) == 3
    assert len({request.params["ClientRequestToken"] for request in sent}) == 1


def test_a_conflict_that_does_not_end_is_unavailable_and_nothing_is_written(no_pauses: list[float]) -> None:
    reasons = [{"Code": "TransactionConflict"}]
    with (
        faults.refused("TransactWriteItems", "TransactionCanceledException", times=1_000, reasons=reasons),
        wire.recorded() as sent,
        pytest.raises(Unavailable),
    ):
        dynamodb.transact_write(dynamodb.transact_put(note("x", text="x")))
    assert 4 <= len(sent) <= 20
    assert texts() == {}


def test_pauses_between_tries_grow_are_never_alike_and_fit_into_one_call(no_pauses: list[float]) -> None:
    with faults.refused("UpdateItem", "TransactionConflictException", times=1_000), pytest.raises(Unavailable):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert len(set(no_pauses)) == len(no_pauses)
    for tried, pause in enumerate(no_pauses):
        assert 0 <= pause <= 0.01 * 2**tried
    assert sum(no_pauses) < 3


def test_a_dead_connection_is_unavailable_after_botocores_own_tries(no_pauses: list[float]) -> None:
    with faults.cut_off("GetItem", times=1_000), wire.recorded() as sent, pytest.raises(Unavailable) as raised:
        dynamodb.get_item(Note, "p", "x")
    assert len(sent) == 3
    assert isinstance(raised.value.__cause__, ReadTimeoutError)


def test_an_error_on_amazons_side_is_unavailable(no_pauses: list[float]) -> None:
    with faults.refused("Query", "InternalServerError", status=500, times=1_000), pytest.raises(Unavailable):
        dynamodb.query(Note, "p", limit=1)


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ResourceNotFoundException"])
def test_a_mistake_of_our_own_is_not_dressed_up_as_unavailable(code: str) -> None:
    with faults.refused("GetItem", code), wire.recorded() as sent, pytest.raises(VerboseClientError) as got:
        dynamodb.get_item(Note, "p", "x")
    assert code in str(got.value)
    with faults.refused("Query", code), pytest.raises(VerboseClientError):
        dynamodb.query(Note, "p", limit=1)
    with faults.refused("UpdateItem", code), pytest.raises(VerboseClientError):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert len(sent) == 1


def test_a_failed_condition_brings_the_item_as_it_stands_without_reading_it() -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="as it stands", number=1)))
    with wire.recorded() as sent, pytest.raises(dynamodb.ConditionFailed) as failed:
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.equals(Note.text, "something else"))
    assert failed.value.row is not None
    assert failed.value.row["text"] == "as it stands"
    assert sent.operations == ["UpdateItem"]


def test_a_failed_condition_on_nothing_brings_none() -> None:
    with pytest.raises(dynamodb.ConditionFailed) as failed:
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.exists(Note.pk))
    assert failed.value.row is None


def test_a_failed_condition_without_the_item_costs_a_read() -> None:
    """Older emulations of DynamoDB leave the item out of the refusal."""
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="as it stands")))
    with (
        faults.refused("UpdateItem", "ConditionalCheckFailedException"),
        pytest.raises(dynamodb.ConditionFailed) as failed,
    ):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.equals(Note.text, "something else"))
    assert failed.value.row is not None
    assert failed.value.row["text"] == "as it stands"


def test_a_cancelled_transaction_says_which_parts_failed_in_the_order_given() -> None:
    """DynamoDB is sent checks, deletes, puts and updates, whatever the order in which the parts were given."""
    for name in "abcd":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))
    with pytest.raises(dynamodb.TransactionCancelled) as cancelled:
        dynamodb.transact_write(
            dynamodb.transact_update(note("a"), [dynamodb.add(Note.number, 1)], dynamodb.equals(Note.text, "wrong")),
            dynamodb.transact_put(note("b", text="new"), dynamodb.equals(Note.text, "b")),
            dynamodb.transact_put(note("c", text="new"), dynamodb.not_exists(Note.pk)),
            dynamodb.transact_delete(note("d"), dynamodb.equals(Note.text, "wrong")),
            dynamodb.transact_check(note("nothing"), dynamodb.exists(Note.pk)),
            dynamodb.transact_update(note("e"), [dynamodb.add(Note.number, 1)]),
        )
    found = {at: row and row["sk"] for at, row in cancelled.value.rows.items()}
    assert found == {0: "a", 2: "c", 3: "d", 4: None}
    assert texts() == {"a": "a", "b": "b", "c": "c", "d": "d"}


def test_of_a_failed_condition_and_a_conflict_the_condition_counts() -> None:
    """Asking again could not help: the condition does not hold."""
    reasons: list[dict[str, Any]] = [
        {"Code": "TransactionConflict"},
        {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "p"}, "sk": {"S": "y"}}},
    ]
    refused = faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons)
    with refused, wire.recorded() as sent, pytest.raises(dynamodb.TransactionCancelled) as cancelled:
        dynamodb.transact_write(
            dynamodb.transact_put(note("x")), dynamodb.transact_put(note("y"), dynamodb.not_exists(Note.pk))
        )
    assert cancelled.value.rows == {1: {"pk": "p", "sk": "y"}}
    assert len(sent) == 1


def test_all_parts_of_a_transaction_are_carried_out() -> None:
    dynamodb.transact_write(
        dynamodb.transact_put(note("gone", text="x")), dynamodb.transact_put(note("there", text="x"))
    )
    dynamodb.transact_write(
        dynamodb.transact_delete(note("gone")),
        dynamodb.transact_put(note("put", text="put")),
        dynamodb.transact_update(note("changed"), [dynamodb.set_value(Note.text, "changed")]),
        dynamodb.transact_check(note("there"), dynamodb.exists(Note.pk)),
    )
    assert texts() == {"there": "x", "put": "put", "changed": "changed"}


def test_many_items_are_read_in_one_request_and_missing_ones_left_out() -> None:
    for name in "abc":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))
    with wire.recorded() as sent:
        found = dynamodb.batch_get(Note, [("p", "a"), ("p", "c"), ("p", "nothing")])
    assert sorted(row["sk"] for row in found) == ["a", "c"]
    assert sent.operations == ["BatchGetItem"]


def test_no_items_are_read_without_a_request() -> None:
    with wire.recorded() as sent:
        assert dynamodb.batch_get(Note, []) == []
    assert sent == []


def test_what_dynamodb_leaves_over_is_asked_for_again() -> None:
    for name in "abc":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))

    def leave_over(answer: dict[str, Any]) -> None:
        items = answer["Responses"][tables.TASKS_TABLE]
        kept, left = items[:1], items[1:]
        answer["Responses"][tables.TASKS_TABLE] = kept
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in left]
        answer["UnprocessedKeys"] = {tables.TASKS_TABLE: {"Keys": keys, "ConsistentRead": True}}

    with faults.partly("BatchGetItem", leave_over, times=2), wire.recorded() as sent:
        found = dynamodb.batch_get(Note, [("p", name) for name in "abc"], consistent=True)
    assert sorted(row["sk"] for row in found) == ["a", "b", "c"]
    assert sent.operations == ["BatchGetItem"] * 3


def test_where_dynamodb_leaves_everything_over_again_and_again_it_is_unavailable(no_pauses: list[float]) -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("a", text="a")))

    def leave_all(answer: dict[str, Any]) -> None:
        answer["Responses"][tables.TASKS_TABLE] = []
        answer["UnprocessedKeys"] = {tables.TASKS_TABLE: {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "a"}}]}}

    with faults.partly("BatchGetItem", leave_all, times=3):
        assert [row["sk"] for row in dynamodb.batch_get(Note, [("p", "a")])] == ["a"]
    assert len(no_pauses) == 3
    with faults.partly("BatchGetItem", leave_all, times=1_000), pytest.raises(Unavailable):
        dynamodb.batch_get(Note, [("p", "a")])


def test_a_query_goes_on_from_page_to_page_in_either_direction() -> None:
    for name in "abcde":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))
    for forward, expected in ((True, "abcde"), (False, "edcba")):
        found = [
            [row["sk"] for row in page.rows]
            for page in dynamodb.paginate(
                lambda start, forward=forward: dynamodb.query(Note, "p", limit=2, start=start, forward=forward)  # type: ignore[misc]
            )
        ]
        assert [name for page in found for name in page] == list(expected)
        assert max(len(page) for page in found) == 2


def test_a_query_can_be_narrowed_by_range_and_by_filter() -> None:
    for name in ("a1", "a2", "b1"):
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name[1], number=7)))
    page = dynamodb.query(
        Note,
        "p",
        key_condition=dynamodb.begins_with(Note.sk, "a"),
        filter_condition=dynamodb.equals(Note.text, "2"),
        limit=10,
    )
    assert page == dynamodb.Page([{"pk": "p", "sk": "a2", "text": "2", "number": 7}], None)


def test_the_tables_answer_while_they_are_there() -> None:
    dynamodb.check_tables()


def test_a_missing_table_is_named() -> None:
    with faults.refused("GetItem", "ResourceNotFoundException"), pytest.raises(Unavailable, match="devflow-local-"):
        dynamodb.check_tables()
