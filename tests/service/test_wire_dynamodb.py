"""The database of `make bench ARGS=sweep` responds as moto does to every request of a sweep."""

from typing import Any

import pytest

from bench.wire_dynamodb.stored_tables import Database, RequestError
from chalicelib.auth import store as users
from chalicelib.orchestration import due_work
from chalicelib.tasks import lifecycle
from tests.conftest import Clock
from tests.long import load
from tests.support import aws_requests, moto_aws, template
from tests.support.due_rows import due_rows
from tests.support.environment import STAGE
from tests.support.handlers import Handlers
from tests.support.iam import DeployedApp

TABLES = ("users", "logins", "agents", "tasks", "webhooks")
COMPARED = ("Item", "Items", "Count", "Attributes", "Responses")
USER_KEY = {"TableName": f"devflow-{STAGE}-users", "Key": {"owner": {"S": "user-1"}}}


@pytest.fixture
def database() -> Database:
    return Database(template.create_table_requests(STAGE))


def comparable(value: Any) -> Any:
    """A response without the order of the items that a batch returns, and of the members of sets."""
    if isinstance(value, dict):
        return {name: sorted(map(repr, each)) if name == "SS" else comparable(each) for name, each in value.items()}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def replay(database: Database, request: aws_requests.Request) -> None:
    """Send a recorded request to the database, and compare the response."""
    expected = {name: each for name, each in request.response.items() if name in COMPARED}
    failed = ""
    response: dict[str, Any] = {}
    try:
        response, _ = database.handle(request.operation, request.params)
    except RequestError as error:
        failed, response = error.code, error.members
    assert request.response.get("Error", {}).get("Code", "") == failed, request
    found = {name: each for name, each in response.items() if name in COMPARED}
    assert comparable(found) == comparable(expected), request
    more = request.response.get("LastEvaluatedKey")  # DynamoDB returns one whenever the limit is reached, moto rarely
    assert more is None or response["LastEvaluatedKey"] == more, request


def test_every_response_and_all_rows_are_those_of_moto(
    database: Database, deployed: DeployedApp, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_work, "CONCURRENCY", 1)  # the requests in their order
    monkeypatch.setattr(due_work, "PAGE_SIZE", 3)
    monkeypatch.setattr(due_work, "FILTERED_PAGE_SIZE", 4)
    monkeypatch.setattr(lifecycle, "_CONCURRENCY", 1)
    rows = list(due_rows("user-1", 20, clock.now))
    load.load(None, rows)
    for table, item in rows:
        stored = database.tables[table]
        stored.store(stored.key_of(item), item)
    with aws_requests.recorded() as sent:
        users.create_user("user-1", "user@example.com", "John Doe", "1", "-", clock.now)
        for minutes in (0, 3, 60):
            clock.advance(60 * minutes)
            Handlers(deployed).sweep()
    for request in sent.to("dynamodb"):
        replay(database, request)
    assert len(sent.to("dynamodb")) > 200
    for name in TABLES:
        items = database.tables[f"devflow-{STAGE}-{name}"].items.values()
        assert sorted(repr(comparable(dict(sorted(item.items())))) for item in items) == sorted(
            repr(comparable(dict(sorted(item.items())))) for item in moto_aws.rows(name)
        )
    assert database.due(clock.now) == {}


def add_one(**condition: str) -> dict[str, Any]:
    return USER_KEY | {
        "UpdateExpression": "ADD #0 :0",
        "ExpressionAttributeNames": {"#0": "agents"},
        "ExpressionAttributeValues": {":0": {"N": "1"}},
    } | condition  # fmt: skip


def test_write_to_a_row_that_is_being_written_is_a_conflict(database: Database) -> None:
    _, rows = database.handle("TransactWriteItems", {"TransactItems": [{"Update": add_one()}]})
    database.locked.update(rows)
    with pytest.raises(RequestError, match="TransactionConflictException"):
        database.handle("UpdateItem", add_one())
    with pytest.raises(RequestError, match="TransactionCanceledException") as raised:
        database.handle("TransactWriteItems", {"TransactItems": [{"Update": add_one()}]})
    assert raised.value.members == {"CancellationReasons": [{"Code": "TransactionConflict"}]}
    database.locked.clear()
    response, _ = database.handle("UpdateItem", add_one())
    assert response["Attributes"]["agents"] == {"N": "2"}


def test_transaction_with_a_false_condition_writes_nothing(database: Database) -> None:
    false = add_one(ConditionExpression="attribute_exists (agents)")
    other = USER_KEY | {"Item": {"owner": {"S": "user-2"}}}
    with pytest.raises(RequestError, match="TransactionCanceledException") as raised:
        database.handle("TransactWriteItems", {"TransactItems": [{"Put": other}, {"Update": false}]})
    codes = [reason["Code"] for reason in raised.value.members["CancellationReasons"]]
    assert codes == ["None", "ConditionalCheckFailed"]
    assert database.tables[USER_KEY["TableName"]].items == {}
