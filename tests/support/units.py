"""Read and write units as AWS bills them, measured on Amazon's DynamoDB Local.

What it says of reads and of single writes is what AWS bills. Of a transaction it counts each part four times where AWS
bills it twice ("two underlying writes of every item in the transaction", DynamoDB's developer guide, "Capacity
management for transactions"), and of parts that are equally large only one. So each part of a transaction is also done
by itself, on a copy of its item in tables of its own, and counts twice: with its changes of indexes, as DynamoDB Local
has it. A condition on an item that is not changed counts like a write of that item.
"""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3

from tests.support import costs, template, wire
from tests.support.environment import STAGE

COPIES = "copies"
"""The stage that the tables are of in which parts are done by themselves."""

TRANSACTION = 2
"""How many times as much as by itself a write costs in a transaction."""

_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


@dataclass
class Meter:
    """What is billed for the writes of transactions that are sent while it stands."""

    endpoint: str
    write: float = 0
    _keys: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        client = boto3.client("dynamodb", endpoint_url=self.endpoint)
        standing = client.list_tables()["TableNames"]
        for request in template.create_table_requests(COPIES):
            self._keys[request["TableName"]] = [each["AttributeName"] for each in request["KeySchema"]]
            if request["TableName"] not in standing:
                client.create_table(**request)
        client.close()

    def look(self, request: wire.Request) -> None:
        """Before a request is sent: the items that it is about are as it finds them."""
        if request.operation == "TransactWriteItems":
            for item in request.params["TransactItems"]:
                ((kind, part),) = item.items()
                self.write += TRANSACTION * self._by_itself(kind, part)

    def _by_itself(self, kind: str, part: dict[str, Any]) -> float:
        table = part["TableName"]
        copies = table.replace(f"-{STAGE}-", f"-{COPIES}-")
        key = part.get("Key") or {name: part["Item"][name] for name in self._keys[copies]}
        stands = self._ask("GetItem", TableName=table, Key=key, ConsistentRead=True).get("Item")
        if stands is None:
            self._ask("DeleteItem", TableName=copies, Key=key)
        else:
            self._ask("PutItem", TableName=copies, Item=stands)
        if kind == "ConditionCheck":
            operation, write = "PutItem", {"Item": stands or key}
        else:
            operation = _WRITES[kind]
            write = {name: part[name] for name in ("Key", "Item", "UpdateExpression") if name in part}
        asked: dict[str, Any] = {"TableName": copies, "ReturnConsumedCapacity": "TOTAL", **write}
        if "UpdateExpression" in write:
            asked |= _used(part, str(write["UpdateExpression"]))
        return float(self._ask(operation, **asked)["ConsumedCapacity"]["CapacityUnits"])

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """Past botocore, where what the platform sends is counted. DynamoDB Local takes any signature."""
        asked = urllib.request.Request(  # noqa: S310  # DynamoDB Local's own address
            self.endpoint, json.dumps(request).encode(), _HEADERS | {_TARGET: _API + operation}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found


_API = "DynamoDB_20120810."
_TARGET = "X-Amz-Target"
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=0",
}


def _used(part: dict[str, Any], expression: str) -> dict[str, Any]:
    """The names and values that an expression uses: DynamoDB refuses those that none does."""
    found = {}
    for kind in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        used = {name: value for name, value in part.get(kind, {}).items() if _names(expression, name)}
        if used:
            found[kind] = used
    return found


def _names(expression: str, name: str) -> bool:
    """Whether `#1` or `:1` is in it, and not only the beginning of `#10`."""
    after = [part[:1] for part in expression.split(name)[1:]]
    return any(not character.isalnum() for character in after)


@contextmanager
def metered(endpoint: str) -> Iterator[Meter]:
    meter = Meter(endpoint)
    with wire.guarded(meter.look):
        yield meter


def billed(endpoint: str, call: Callable[[], Any]) -> tuple[costs.Cost, float, float]:
    """What a call costs, with the read and write units that it is billed for; DynamoDB must be redirected to
    `endpoint`."""
    with metered(endpoint) as meter:
        cost = costs.measured(call)
    single = [request for request in cost.sent if request.operation != "TransactWriteItems"]
    return cost, sum(map(_read, single)), sum(each.units[1] for each in single) + meter.write


def _read(request: wire.Request) -> float:
    """Read units; a query or read that finds nothing costs what the smallest does, which DynamoDB Local leaves out."""
    least = {"GetItem": 0.5, "Query": 0.5}.get(request.operation, 0)
    return max(request.units[0], least * (2 if request.params.get("ConsistentRead") else 1))
