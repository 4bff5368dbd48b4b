"""Read and write units as AWS bills them, measured on Amazon's DynamoDB Local.

For reads and single writes, DynamoDB Local reports the units that AWS bills. For transactions it does not. AWS bills
each item of a transaction twice ("two underlying writes of every item in the transaction", DynamoDB's developer guide,
"Capacity management for transactions"). DynamoDB Local counts it four times, and counts only one of several items of
equal size. So this module also executes each write of a transaction as a single write, on a copy of its item in
separate tables, and counts the units twice. A condition check of an unchanged item counts like a write of that item.

The units include the changes of indexes, which so count twice too. Measurements of the service
(https://github.com/nubo-db/dynoxide/pull/188) show that AWS counts them once: it changes the indexes after the commit
(developer guide, "Amazon DynamoDB Transactions: How it works"). AWS's pages on prices do not state this, so the figures
of costs are an upper bound. The partition model (`bench/partitions/tables.py`) compares indexes with their limits, and
counts them once.
"""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3

from tests.support import aws_requests, costs, template
from tests.support.environment import STAGE

COPIES = "copies"
"""Stage of the tables in which the writes of a transaction are executed separately."""

TRANSACTION = 2
"""The price of a write in a transaction, relative to a single write."""

_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


@dataclass
class Meter:
    """Counts the units that are billed for the transactions that are sent while it is active."""

    endpoint: str
    write: float = 0
    _keys: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        client = boto3.client("dynamodb", endpoint_url=self.endpoint)
        existing = client.list_tables()["TableNames"]
        for request in template.create_table_requests(COPIES):
            self._keys[request["TableName"]] = [each["AttributeName"] for each in request["KeySchema"]]
            if request["TableName"] not in existing:
                client.create_table(**request)
        client.close()

    def measure(self, request: aws_requests.Request) -> None:
        """Count the units of a request before it is sent, while its items have their previous values."""
        if request.operation == "TransactWriteItems":
            for item in request.params["TransactItems"]:
                ((kind, part),) = item.items()
                self.write += TRANSACTION * self._as_single_write(kind, part)

    def _as_single_write(self, kind: str, part: dict[str, Any]) -> float:
        """The units of one item of a transaction, executed as a single write on a copy of its row."""
        table = part["TableName"]
        copies = table.replace(f"-{STAGE}-", f"-{COPIES}-")
        key = part.get("Key") or {name: part["Item"][name] for name in self._keys[copies]}
        stored = self._send("GetItem", TableName=table, Key=key, ConsistentRead=True).get("Item")
        if stored is None:
            self._send("DeleteItem", TableName=copies, Key=key)
        else:
            self._send("PutItem", TableName=copies, Item=stored)
        if kind == "ConditionCheck":
            operation, write = "PutItem", {"Item": stored or key}
        else:
            operation = _WRITES[kind]
            write = {name: part[name] for name in ("Key", "Item", "UpdateExpression") if name in part}
        request: dict[str, Any] = {"TableName": copies, "ReturnConsumedCapacity": "TOTAL", **write}
        if "UpdateExpression" in write:
            request |= _used(part, str(write["UpdateExpression"]))
        return float(self._send(operation, **request)["ConsumedCapacity"]["CapacityUnits"])

    def _send(self, operation: str, **params: Any) -> dict[str, Any]:
        """Send a request without botocore, which counts the requests of the platform.

        DynamoDB Local accepts any signature.
        """
        request = urllib.request.Request(  # noqa: S310  # DynamoDB Local's own address
            self.endpoint, json.dumps(params).encode(), _HEADERS | {_TARGET: _API + operation}
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            found: dict[str, Any] = json.load(response)
        return found


_API = "DynamoDB_20120810."
_TARGET = "X-Amz-Target"
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=0",
}


def _used(part: dict[str, Any], expression: str) -> dict[str, Any]:
    """The names and values that an expression uses. DynamoDB rejects unused ones."""
    found = {}
    for kind in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        used = {name: value for name, value in part.get(kind, {}).items() if _names(expression, name)}
        if used:
            found[kind] = used
    return found


def _names(expression: str, name: str) -> bool:
    """Whether an expression contains `#1` or `:1`, and not only a longer name such as `#10`."""
    after = [part[:1] for part in expression.split(name)[1:]]
    return any(not character.isalnum() for character in after)


@contextmanager
def metered(endpoint: str) -> Iterator[Meter]:
    meter = Meter(endpoint)
    with aws_requests.intercepted(meter.measure):
        yield meter


def billed(endpoint: str, call: Callable[[], Any]) -> tuple[costs.Cost, float, float]:
    """The cost of a call, and its billed read and write units. DynamoDB must be redirected to `endpoint`."""
    with metered(endpoint) as meter:
        cost = costs.measured(call)
    single = [request for request in cost.sent if request.operation != "TransactWriteItems"]
    return cost, sum(map(_read, single)), sum(each.units[1] for each in single) + meter.write


def _read(request: aws_requests.Request) -> float:
    """The billed read units. A read that finds nothing costs the minimum, which DynamoDB Local reports as zero."""
    minimum = {"GetItem": 0.5, "Query": 0.5}.get(request.operation, 0)
    return max(request.units[0], minimum * (2 if request.params.get("ConsistentRead") else 1))
