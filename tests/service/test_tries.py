"""chalicelib/aws/tries.py: whether, how often and until when requests to AWS are sent."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from chalicelib import dynamodb
from chalicelib.aws import ses, sqs, tries
from chalicelib.core import deadline
from chalicelib.core.errors import Unavailable
from tests.service import faults
from tests.service.test_dynamodb_operations import Note
from tests.support import moto_aws
from tests.support.virtual_aws import VirtualAws


@pytest.fixture
def virtual_aws(aws: None) -> Iterator[VirtualAws]:
    with VirtualAws().install() as virtual:
        yield virtual


def context(seconds: float) -> SimpleNamespace:
    return SimpleNamespace(get_remaining_time_in_millis=lambda: int((seconds + deadline.RESERVE_SECONDS) * 1_000))


def get() -> None:
    dynamodb.get_item(Note, "p", "x")


def update() -> None:
    dynamodb.update_item(dynamodb.item(Note, pk="p", sk="x"), [dynamodb.add(Note.number, 1)])


def test_no_attempt_begins_that_could_end_after_the_deadline(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    with deadline.within(context(1.1)), pytest.raises(Unavailable):
        get()
    assert virtual_aws.now < 1.1
    assert len(virtual_aws.attempts) == 1, "the second attempt could take until 1.12 s"
    with deadline.within(context(0.79)), pytest.raises(Unavailable):
        get()
    assert len(virtual_aws.attempts) == 1


def test_pagination_stops_at_the_deadline(virtual_aws: VirtualAws) -> None:
    for name in "abcdefgh":
        dynamodb.transact_write(dynamodb.transact_put(dynamodb.item(Note, pk="p", sk=name)))
    virtual_aws.latency, started = 0.9, virtual_aws.now
    with deadline.within(context(5)), pytest.raises(Unavailable):
        list(dynamodb.paginate(lambda start: dynamodb.query(Note, "p", limit=1, start=start)))
    assert virtual_aws.now - started < 5


def test_batch_stops_at_the_deadline(virtual_aws: VirtualAws) -> None:
    for name in "abcdefghij":
        dynamodb.transact_write(dynamodb.transact_put(dynamodb.item(Note, pk="p", sk=name)))

    def leave_all_but_one(response: dict[str, object]) -> None:
        ((table, items),) = response["Responses"].items()  # type: ignore[attr-defined]
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in items[1:]]
        response["Responses"][table] = items[:1]  # type: ignore[index]
        response["UnprocessedKeys"] = {table: {"Keys": keys}} if keys else {}

    virtual_aws.latency, started = 0.9, virtual_aws.now
    with (
        faults.response_changed("BatchGetItem", leave_all_but_one, times=99),
        deadline.within(context(5)),
        pytest.raises(Unavailable),
    ):
        dynamodb.batch_get(Note, [("p", name) for name in "abcdefghij"])
    assert virtual_aws.now - started < 5


def test_container_fails_at_once_after_two_timeouts_in_a_row(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    for _ in range(2):
        with pytest.raises(Unavailable):
            get()
    sent, now = len(virtual_aws.attempts), virtual_aws.now
    with pytest.raises(Unavailable) as refused:
        get()
    assert (len(virtual_aws.attempts), virtual_aws.now) == (sent, now)
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 4


def test_writes_that_fail_at_once_do_not_affect_reads(virtual_aws: VirtualAws) -> None:
    virtual_aws.throttles = lambda _, operation: operation == "UpdateItem"
    for _ in range(6):
        with pytest.raises(Unavailable):
            update()
    sent = len(virtual_aws.attempts)
    with pytest.raises(Unavailable):
        update()
    get()
    assert [each.operation for each in virtual_aws.attempts[sent:]] == ["GetItem"]


def test_retries_of_a_container_end_with_its_budget(virtual_aws: VirtualAws) -> None:
    """Each success between the failures returns one token, and each retry takes five."""
    virtual_aws.throttles = lambda _, operation: operation == "UpdateItem"
    for _ in range(40):
        get()
        with pytest.raises(Unavailable):
            update()
        tries._memory.circuit("write devflow-local-tasks").record_success()
    retries = sum(each.operation == "UpdateItem" for each in virtual_aws.attempts) - 40
    assert 5 <= retries <= 5 + 40 / 5 + virtual_aws.now * 0.5 / 5


def test_container_recovers_with_the_first_successful_probe(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    for _ in range(2):
        with pytest.raises(Unavailable):
            get()
    virtual_aws.latency = 0.0
    virtual_aws.now += 2
    get()
    get()
    assert tries._memory.circuit("read devflow-local-tasks").openings == 0


def test_health_reads_the_tables_while_other_requests_fail_at_once(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    for _ in range(2):
        with pytest.raises(Unavailable):
            get()
    with pytest.raises(Unavailable):
        dynamodb.check_tables()
    virtual_aws.latency = 0.0
    dynamodb.check_tables()


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_throttled_request_is_retried_and_succeeds(virtual_aws: VirtualAws, code: str) -> None:
    with faults.refused("GetItem", code, times=2):
        get()
    assert len(virtual_aws.sleeps) == 2


def test_update_whose_response_is_lost_is_sent_again(virtual_aws: VirtualAws) -> None:
    with faults.response_lost("UpdateItem"):
        row = dynamodb.update_item(dynamodb.item(Note, pk="p", sk="x"), [dynamodb.add(Note.number, 1)])
    assert row["number"] == 2, "callers whose update must have one effect use a condition"


def test_message_is_not_sent_and_not_lost_while_sqs_does_not_respond(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    with deadline.within(context(20)):
        results = [sqs.send("workflow", {"owner": "o", "task": "t"}) for _ in range(5)]
    assert results == [False] * 5
    assert virtual_aws.now < 10, "after two timeouts SQS is not called"


def test_mail_that_ses_does_not_accept_in_time_is_unavailable(virtual_aws: VirtualAws) -> None:
    virtual_aws.latency = 60.0
    with deadline.within(context(20)), pytest.raises(Unavailable, match="mail could not be sent"):
        ses.send("user@example.com", "subject", "text")
    assert virtual_aws.now <= 20
    virtual_aws.latency = 0.0
    virtual_aws.now += 2
    ses.send("user@example.com", "subject", "text")
    assert moto_aws.mails()
