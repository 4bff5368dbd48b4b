"""chalicelib/dynamodb/operations.py: retries, conditions and errors, over moto."""

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import VerboseClientError
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.core.errors import DevFlowError, Unavailable
from chalicelib.dynamodb import marshalling
from chalicelib.tasks import tables
from tests.service import faults
from tests.support import aws_requests


class Note(Model):
    """A row for these tests, in a table with a hash key and a range key."""

    class Meta:
        table_name = tables.TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    text = UnicodeAttribute(null=True)
    number = NumberAttribute(null=True)


@pytest.fixture(autouse=True)
def _tables(aws: None) -> None:
    """Empty tables before every test."""


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the pauses between retries instead of sleeping."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


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
def test_stored_value_is_decoded_to_its_python_value(stored: dict[str, Any], value: object) -> None:
    decoded = marshalling.decode({"x": stored})["x"]
    assert decoded == value
    assert type(decoded) is type(value)


def test_missing_item_is_none() -> None:
    assert dynamodb.get_item(Note, "p", "nothing") is None


def test_get_item_is_a_consistent_read() -> None:
    with aws_requests.recorded() as sent:
        dynamodb.get_item(Note, "p", "x")
    assert sent[0].params["ConsistentRead"] is True


def test_update_is_retried_until_the_conflicting_writer_is_done() -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", number=1)))
    with faults.refused("UpdateItem", "TransactionConflictException", times=3), aws_requests.recorded() as sent:
        row = dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert row["number"] == 2
    assert sent.operations == ["UpdateItem"] * 4


def test_read_during_a_transaction_is_retried(no_pauses: list[float]) -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="there")))
    with faults.refused("GetItem", "TransactionInProgressException", times=2):
        row = dynamodb.get_item(Note, "p", "x")
    assert row is not None
    assert row["text"] == "there"


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_transaction_with_only_conflicts_is_retried_with_the_same_token(code: str) -> None:
    reasons = [{"Code": code}, {}]
    with (
        faults.refused("TransactWriteItems", "TransactionCanceledException", times=2, reasons=reasons),
        aws_requests.recorded() as sent,
    ):
        dynamodb.transact_write(dynamodb.transact_put(note("x", text="x")), dynamodb.transact_put(note("y", text="y")))
    assert texts() == {"x": "x", "y": "y"}
    assert len(sent) == 3
    assert len({request.params["ClientRequestToken"] for request in sent}) == 1


def test_permanent_conflict_raises_unavailable_and_writes_nothing(no_pauses: list[float]) -> None:
    reasons = [{"Code": "TransactionConflict"}]
    with (
        faults.refused("TransactWriteItems", "TransactionCanceledException", times=1_000, reasons=reasons),
        aws_requests.recorded() as sent,
        pytest.raises(Unavailable),
    ):
        dynamodb.transact_write(dynamodb.transact_put(note("x", text="x")))
    assert 4 <= len(sent) <= 20
    assert texts() == {}


def test_pauses_between_retries_grow_differ_and_fit_into_one_call(no_pauses: list[float]) -> None:
    with faults.refused("UpdateItem", "TransactionConflictException", times=1_000), pytest.raises(Unavailable):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert len(no_pauses) == 4
    for retry, pause in enumerate(no_pauses):
        assert 0.02 * 3**retry <= pause <= 0.04 * 3**retry
    assert sum(no_pauses) < 2


def test_timeout_raises_unavailable_after_one_retry(no_pauses: list[float]) -> None:
    with (
        faults.unreachable("GetItem", times=1_000),
        aws_requests.recorded() as sent,
        pytest.raises(Unavailable) as raised,
    ):
        dynamodb.get_item(Note, "p", "x")
    assert len(sent) == 2
    assert isinstance(raised.value.__cause__, ReadTimeoutError)


def test_server_error_of_dynamodb_raises_unavailable(no_pauses: list[float]) -> None:
    with faults.refused("Query", "InternalServerError", status=500, times=1_000), pytest.raises(Unavailable):
        dynamodb.query(Note, "p", limit=1)


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ResourceNotFoundException"])
def test_client_error_is_not_reported_as_unavailable(code: str) -> None:
    with faults.refused("GetItem", code), aws_requests.recorded() as sent, pytest.raises(VerboseClientError) as got:
        dynamodb.get_item(Note, "p", "x")
    assert code in str(got.value)
    with faults.refused("Query", code), pytest.raises(VerboseClientError):
        dynamodb.query(Note, "p", limit=1)
    with faults.refused("UpdateItem", code), pytest.raises(VerboseClientError):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)])
    assert len(sent) == 1


def test_failed_condition_contains_the_stored_item_without_a_read() -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="stored", number=1)))
    with aws_requests.recorded() as sent, pytest.raises(dynamodb.ConditionFailed) as failed:
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.equals(Note.text, "something else"))
    assert failed.value.row is not None
    assert failed.value.row["text"] == "stored"
    assert sent.operations == ["UpdateItem"]


def test_failed_condition_on_a_missing_item_contains_none() -> None:
    with pytest.raises(dynamodb.ConditionFailed) as failed:
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.exists(Note.pk))
    assert failed.value.row is None


def test_failed_condition_without_the_item_causes_a_read() -> None:
    """Older emulations of DynamoDB do not include the item in the error."""
    dynamodb.transact_write(dynamodb.transact_put(note("x", text="stored")))
    with (
        faults.refused("UpdateItem", "ConditionalCheckFailedException"),
        pytest.raises(dynamodb.ConditionFailed) as failed,
    ):
        dynamodb.update_item(note("x"), [dynamodb.add(Note.number, 1)], dynamodb.equals(Note.text, "something else"))
    assert failed.value.row is not None
    assert failed.value.row["text"] == "stored"


def test_cancelled_transaction_reports_failed_items_by_their_position() -> None:
    """The request groups the items by kind: checks, deletes, puts, updates. The caller's order differs."""
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


def test_failed_condition_takes_precedence_over_a_conflict() -> None:
    """A retry would be without effect, because the condition fails."""
    reasons: list[dict[str, Any]] = [
        {"Code": "TransactionConflict"},
        {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "p"}, "sk": {"S": "y"}}},
    ]
    refused = faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons)
    with refused, aws_requests.recorded() as sent, pytest.raises(dynamodb.TransactionCancelled) as cancelled:
        dynamodb.transact_write(
            dynamodb.transact_put(note("x")), dynamodb.transact_put(note("y"), dynamodb.not_exists(Note.pk))
        )
    assert cancelled.value.rows == {1: {"pk": "p", "sk": "y"}}
    assert len(sent) == 1


TOO_LARGE = "Item size has exceeded the maximum allowed size"


def test_item_that_is_too_large_for_a_transaction_is_a_permanent_error() -> None:
    """A failed condition of another item does not matter: the request can never succeed."""
    reasons: list[dict[str, Any]] = [
        {"Code": "ConditionalCheckFailed"},
        {"Code": "ValidationError", "Message": TOO_LARGE},
        {"Code": "TransactionConflict"},
    ]
    refused = faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons)
    items = [dynamodb.transact_put(note(name)) for name in "abc"]
    with refused, aws_requests.recorded() as sent, pytest.raises(dynamodb.ItemTooLarge):
        dynamodb.transact_write(*items)
    assert len(sent) == 1


def test_rejected_transaction_is_an_internal_error_and_its_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    reasons: list[dict[str, Any]] = [{"Code": "ValidationError", "Message": "Type mismatch for attribute to update"}]
    refused = faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons)
    with refused, aws_requests.recorded() as sent, pytest.raises(DevFlowError) as rejected:
        dynamodb.transact_write(dynamodb.transact_put(note("x")))
    assert type(rejected.value) is DevFlowError, "not Unavailable: a retry cannot succeed"
    assert len(sent) == 1
    assert [getattr(record, "reasons", None) for record in caplog.records] == [
        ["ValidationError: Type mismatch for attribute to update"]
    ]


def test_item_is_measured_before_it_is_sent() -> None:
    with aws_requests.recorded() as sent, pytest.raises(dynamodb.ItemTooLarge):
        dynamodb.transact_write(dynamodb.transact_put(note("x", text="é" * 205_000)))
    assert sent == []


def test_maximum_size_is_the_one_of_dynamodb(true_dynamodb: str) -> None:
    """DynamoDB Local rejects items like AWS does. In a transaction of AWS, it is a reason of the cancellation."""
    rest = marshalling.item_size(note("x", text="").to_dynamodb())
    largest = "x" * (marshalling.MAX_ITEM_BYTES - rest)
    dynamodb.transact_write(dynamodb.transact_put(note("x", text=largest)))
    assert texts()["x"] == largest
    for too_large in (largest + "x", largest[:-1] + "é"):
        with pytest.raises(dynamodb.ItemTooLarge):
            dynamodb.transact_put(note("x", text=too_large))
        with pytest.raises(dynamodb.ItemTooLarge):
            dynamodb.update_item(note("x"), [dynamodb.set_value(Note.text, too_large)])
        with pytest.raises(dynamodb.ItemTooLarge):
            dynamodb.transact_write(dynamodb.transact_update(note("x"), [dynamodb.set_value(Note.text, too_large)]))
    assert texts()["x"] == largest


def test_all_items_of_a_transaction_are_executed() -> None:
    dynamodb.transact_write(
        dynamodb.transact_put(note("deleted", text="x")), dynamodb.transact_put(note("checked", text="x"))
    )
    dynamodb.transact_write(
        dynamodb.transact_delete(note("deleted")),
        dynamodb.transact_put(note("put", text="put")),
        dynamodb.transact_update(note("changed"), [dynamodb.set_value(Note.text, "changed")]),
        dynamodb.transact_check(note("checked"), dynamodb.exists(Note.pk)),
    )
    assert texts() == {"checked": "x", "put": "put", "changed": "changed"}


def test_batch_get_reads_items_in_one_request_and_omits_missing_ones() -> None:
    for name in "abc":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))
    with aws_requests.recorded() as sent:
        found = dynamodb.batch_get(Note, [("p", "a"), ("p", "c"), ("p", "nothing")])
    assert sorted(row["sk"] for row in found) == ["a", "c"]
    assert sent.operations == ["BatchGetItem"]


def test_batch_get_of_no_items_sends_no_request() -> None:
    with aws_requests.recorded() as sent:
        assert dynamodb.batch_get(Note, []) == []
    assert sent == []


def test_unprocessed_keys_are_requested_again() -> None:
    for name in "abc":
        dynamodb.transact_write(dynamodb.transact_put(note(name, text=name)))

    def leave_unprocessed(response: dict[str, Any]) -> None:
        items = response["Responses"][tables.TASKS_TABLE]
        processed, unprocessed = items[:1], items[1:]
        response["Responses"][tables.TASKS_TABLE] = processed
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in unprocessed]
        response["UnprocessedKeys"] = {tables.TASKS_TABLE: {"Keys": keys, "ConsistentRead": True}}

    with faults.response_changed("BatchGetItem", leave_unprocessed, times=2), aws_requests.recorded() as sent:
        found = dynamodb.batch_get(Note, [("p", name) for name in "abc"], consistent=True)
    assert sorted(row["sk"] for row in found) == ["a", "b", "c"]
    assert sent.operations == ["BatchGetItem"] * 3


def test_permanently_unprocessed_keys_raise_unavailable(no_pauses: list[float]) -> None:
    dynamodb.transact_write(dynamodb.transact_put(note("a", text="a")))

    def leave_all_unprocessed(response: dict[str, Any]) -> None:
        response["Responses"][tables.TASKS_TABLE] = []
        response["UnprocessedKeys"] = {tables.TASKS_TABLE: {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "a"}}]}}

    with faults.response_changed("BatchGetItem", leave_all_unprocessed, times=2):
        assert [row["sk"] for row in dynamodb.batch_get(Note, [("p", "a")])] == ["a"]
    assert len(no_pauses) == 2
    with faults.response_changed("BatchGetItem", leave_all_unprocessed, times=1_000), pytest.raises(Unavailable):
        dynamodb.batch_get(Note, [("p", "a")])


def test_query_continues_from_page_to_page_in_both_directions() -> None:
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


def test_query_supports_a_range_condition_and_a_filter() -> None:
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


def test_check_of_existing_tables_succeeds() -> None:
    dynamodb.check_tables()


def test_missing_table_is_named() -> None:
    with faults.refused("GetItem", "ResourceNotFoundException"), pytest.raises(Unavailable, match="devflow-local-"):
        dynamodb.check_tables()
