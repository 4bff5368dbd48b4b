"""DynamoDB that cancels overlapping writes, and SQS that invokes functions at once, in simulated time.

moto never raises TransactionConflict, because each of its requests takes no time. Here each request is in flight for 10
to 20 ms. As DynamoDB documents it, a transaction is cancelled if another write to one of its items is in flight, and a
plain write is rejected if a transaction on its item is. Plain writes do not conflict with each other.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.endpoint import Endpoint

from chalicelib.aws import tries
from chalicelib.core import clock, deadline
from tests.service import faults
from tests.support import template
from tests.support.environment import STAGE
from tests.support.virtual_time import VirtualTime

LATENCY = (0.010, 0.020)
"""The least and the most seconds for which a request is in flight."""

Key = tuple[str, ...]
"""A table, and the values of an item's key."""

Invoke = Callable[[str, Any], bool]
"""Passes a message to the function of a queue. Returns whether it was handled."""


class ContendedAws:
    """The simulated time, and what has happened in it."""

    visibility_timeout = 180.0
    """Seconds until SQS delivers a message again that was not handled: `VisibilityTimeout` in infra/template.yaml."""
    max_receives = 5

    def __init__(self, time: VirtualTime, start_ms: int, invoke: Invoke) -> None:
        self.time, self._start_ms, self._invoke = time, start_ms, invoke
        self._random = random.Random(1)  # noqa: S311  # not for security
        self._transactions: Counter[Key] = Counter()
        """How many transactions on each item are in flight."""
        self._writes: Counter[Key] = Counter()
        """The same of plain writes."""
        self.conflicts: Counter[str] = Counter()
        """How many requests were rejected, by the table of the item that they met on."""
        self.requests = 0
        self.failed_messages = self.dead_letters = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Send the requests of this process here. Pauses and the clock of the platform are simulated too."""
        endpoint: Any = Endpoint
        send = endpoint._do_get_response

        def respond(endpoint: Any, request: Any, operation: Any, context: Any) -> Any:
            service = operation.service_model.service_name
            if service == "sqs" and operation.name == "SendMessage":
                return self._send_message(json.loads(request.body))
            if service != "dynamodb":
                return send(endpoint, request, operation, context)
            params = json.loads(request.body)
            return self._request(operation.name, params, lambda: send(endpoint, request, operation, context))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(endpoint, "_do_get_response", respond)
            patch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: self.time.now, sleep=self.time.sleep))
            patch.setattr(clock, "time", SimpleNamespace(time=lambda: self._start_ms / 1_000 + self.time.now))
            tries.forget_failures()
            yield
            tries.forget_failures()

    def _request(self, operation: str, params: dict[str, Any], send: Callable[[], Any]) -> Any:
        """Answer a request to DynamoDB. It takes effect at its end."""
        self.requests += 1
        latency = self._random.uniform(*LATENCY)
        keys = _written_keys(operation, params)
        if operation == "TransactWriteItems":
            conflicts, in_flight = (
                [key in self._transactions or key in self._writes for key in keys],
                self._transactions,
            )
        else:
            conflicts, in_flight = [key in self._transactions for key in keys], self._writes
        if any(conflicts):
            self.conflicts[keys[conflicts.index(True)][0]] += 1
            self.time.sleep(latency)
            if operation != "TransactWriteItems":
                return faults.error(400, "TransactionConflictException")
            reasons = [{"Code": "TransactionConflict" if each else "None"} for each in conflicts]
            return faults.error(400, "TransactionCanceledException", reasons)
        in_flight.update(keys)
        self.time.sleep(latency)
        in_flight.subtract(keys)
        for key in keys:
            if not in_flight[key]:
                del in_flight[key]
        return send()

    def _send_message(self, params: dict[str, Any]) -> Any:
        queue, body = params["QueueUrl"].rpartition(f"devflow-{STAGE}-")[2], json.loads(params["MessageBody"])
        self.time.spawn(lambda: self._deliver(queue, body, 1), params.get("DelaySeconds", 0) + LATENCY[0])
        accepted = {"MessageId": uuid.uuid4().hex}
        metadata = {"HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}
        return (faults.response(200, accepted), accepted | {"ResponseMetadata": metadata}), None

    def _deliver(self, queue: str, body: Any, receives: int) -> None:
        if self._invoke(queue, body):
            return
        self.failed_messages += 1
        if receives == self.max_receives:
            self.dead_letters += 1
        else:
            self.time.spawn(lambda: self._deliver(queue, body, receives + 1), self.visibility_timeout)


_KEY_NAMES = {
    request["TableName"]: tuple(each["AttributeName"] for each in request["KeySchema"])
    for request in template.create_table_requests(STAGE)
}


def _written_keys(operation: str, params: dict[str, Any]) -> list[Key]:
    """The items that a request writes, or checks in a transaction. Empty if it only reads."""
    if operation == "TransactWriteItems":
        return [_key(part) for each in params["TransactItems"] for part in each.values()]
    return [_key(params)] if operation in ("UpdateItem", "PutItem", "DeleteItem") else []


def _key(part: dict[str, Any]) -> Key:
    table, values = part["TableName"], part.get("Key") or part["Item"]
    return (table.removeprefix(f"devflow-{STAGE}-"), *(str(values[name]) for name in _KEY_NAMES[table]))
