"""moto, with our changes, gives the guarantees that the platform depends on: one winner, and all or nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support import moto_aws

USERS = "devflow-local-users"
TASKS = "devflow-local-tasks"


def owner(name: str) -> dict[str, Any]:
    return {"owner": {"S": name}}


def put(table: str, item: dict[str, Any], condition: str | None = None) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": item} | ({"ConditionExpression": condition} if condition else {})}


def test_exactly_one_of_many_concurrent_conditional_writes_succeeds(aws: None) -> None:
    client = boto3.client("dynamodb")

    def try_to(number: int) -> bool:
        item = owner("a") | {"by": {"N": str(number)}}
        try:
            client.put_item(TableName=USERS, Item=item, ConditionExpression="attribute_not_exists(#o)",
                            ExpressionAttributeNames={"#o": "owner"})  # fmt: skip
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(try_to, range(64)))
    assert won.count(True) == 1
    assert moto_aws.rows("users") == [owner("a") | {"by": {"N": str(won.index(True))}}]


def changes() -> list[dict[str, Any]]:
    """One write of each kind, each with a visible effect."""
    key = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    return [
        put(USERS, owner("new")),
        put(USERS, owner("old") | {"x": {"N": "2"}}),
        {"Delete": {"TableName": USERS, "Key": owner("gone")}},
        {
            "Update": {
                "TableName": TASKS,
                "Key": key,
                "UpdateExpression": "SET #m.#a = :v, #n = :v",
                "ExpressionAttributeNames": {"#m": "m", "#a": "a", "#n": "n"},
                "ExpressionAttributeValues": {":v": {"N": "9"}},
            }
        },
    ]


def stored() -> Any:
    rows: Callable[[str], Any] = moto_aws.rows
    return rows("users"), rows("tasks")


def test_failed_transaction_changes_nothing(aws: None) -> None:
    client = boto3.client("dynamodb")
    client.put_item(TableName=USERS, Item=owner("old") | {"x": {"N": "1"}})
    client.put_item(TableName=USERS, Item=owner("gone"))
    client.put_item(TableName=TASKS, Item={"pk": {"S": "p"}, "sk": {"S": "1"}, "m": {"M": {"a": {"N": "1"}}}})
    before = stored()
    never = put(TASKS, {"pk": {"S": "q"}, "sk": {"S": "1"}}, "attribute_exists(pk)")
    with pytest.raises(ClientError) as caught:
        client.transact_write_items(TransactItems=[*changes(), never])
    reasons = [reason["Code"] for reason in caught.value.response["CancellationReasons"]]
    assert reasons == ["None", "None", "None", "None", "ConditionalCheckFailed"]
    assert stored() == before

    client.transact_write_items(TransactItems=changes())
    users, tasks = stored()
    assert users == [owner("new"), owner("old") | {"x": {"N": "2"}}]
    assert tasks[0]["m"] == {"M": {"a": {"N": "9"}}}
    assert tasks[0]["n"] == {"N": "9"}


def test_index_returns_sorted_rows_with_projected_attributes_only(aws: None) -> None:
    client = boto3.client("dynamodb")
    for number in (3, 1, 12, 2):
        key = {
            "pk": {"S": f"p{number}"},
            "sk": {"S": "H"},
            "ownerStatus": {"S": "o#x"},
            "createdAt": {"N": str(number)},
        }
        client.put_item(TableName=TASKS, Item=key | {"intent": {"S": "i"}, "other": {"S": ""}})
    found = client.query(
        TableName=TASKS,
        IndexName="by_status",
        KeyConditionExpression="ownerStatus = :s",
        ExpressionAttributeValues={":s": {"S": "o#x"}},
        ScanIndexForward=False,
        Limit=3,
    )
    assert [item["createdAt"]["N"] for item in found["Items"]] == ["12", "3", "2"]
    assert found["Items"][0].keys() == {"pk", "sk", "ownerStatus", "createdAt", "intent"}
    assert found["LastEvaluatedKey"].keys() == {"pk", "sk", "ownerStatus", "createdAt"}
