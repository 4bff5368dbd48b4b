"""The wire to AWS, where botocore sends: what was asked for, how often, and what it consumed.

    with wire.recorded() as sent:
        gateway.call(...)
    assert [request.operation for request in sent] == ["UpdateItem"]

Every attempt counts, so a retry shows. Counts what all threads of the process send.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.endpoint import Endpoint

_CAPACITY_AWARE = {
    "BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "TransactGetItems",
    "TransactWriteItems", "UpdateItem",
}  # fmt: skip

_ACCESS_KEY = re.compile("Credential=[^/]+/")


@dataclass
class Request:
    """One request to AWS."""

    service: str
    """`dynamodb`, `sqs`, ..."""
    operation: str
    """As AWS calls it: `UpdateItem`, `SendMessage`, ..."""
    params: dict[str, Any]
    """The request itself, in AWS's own JSON."""
    answer: dict[str, Any] = field(default_factory=dict)
    """What came back; empty where nothing did."""

    @property
    def tables(self) -> list[str]:
        """The tables it names, each once, sorted."""
        parts = [part for item in self.params.get("TransactItems", []) for part in item.values()]
        names = {part["TableName"] for part in (self.params, *parts) if "TableName" in part}
        return sorted(names | set(self.params.get("RequestItems", {})))

    @property
    def units(self) -> tuple[float, float]:
        """Read and write units that it consumed, as far as the far side knows: moto's are constants, and
        DynamoDB Local counts a transaction's writes at twice what AWS bills."""
        consumed = self.answer.get("ConsumedCapacity") or []
        total = sum(part["CapacityUnits"] for part in (consumed if isinstance(consumed, list) else [consumed]))
        writes = self.operation in {"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}
        return (0.0, total) if writes else (total, 0.0)


class Sent(list[Request]):
    """The requests of one recording, in order."""

    def to(self, service: str) -> list[Request]:
        return [request for request in self if request.service == service]

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self]

    @property
    def units(self) -> tuple[float, float]:
        """Read and write units of them all."""
        pairs = [request.units for request in self]
        return sum(read for read, _ in pairs), sum(write for _, write in pairs)


Verdict = Callable[[Request], str | None]
"""The code of the error that AWS refuses a request with, or None to let it pass."""

_lock = threading.Lock()
_recordings: list[Sent] = []
_redirected: dict[str, str] = {}
_signing_as: list[str] = []
_verdicts: list[Verdict] = []


@contextmanager
def recorded() -> Iterator[Sent]:
    """Record what this process sends to AWS within the block; blocks may nest."""
    _install()
    sent = Sent()
    with _lock:
        _recordings.append(sent)
    try:
        yield sent
    finally:
        with _lock:
            # By identity: two empty recordings are equal.
            _recordings[:] = [recording for recording in _recordings if recording is not sent]


@contextmanager
def redirected(service: str, endpoint: str) -> Iterator[None]:
    """Send what is meant for a service to `endpoint` instead, whatever client it comes from."""
    _install()
    _redirected[service] = endpoint
    try:
        yield
    finally:
        del _redirected[service]


@contextmanager
def signing_as(access_key: str) -> Iterator[None]:
    """Name another access key in every request, whatever client it comes from: DynamoDB Local, which checks no
    signature, keeps a database for each where it is not told to share one."""
    _install()
    _signing_as.append(access_key)
    try:
        yield
    finally:
        _signing_as.pop()


def is_redirected(service: str) -> bool:
    return service in _redirected


@contextmanager
def guarded(verdict: Verdict) -> Iterator[None]:
    """Let `verdict` refuse requests before they are sent."""
    _install()
    _verdicts.append(verdict)
    try:
        yield
    finally:
        _verdicts.remove(verdict)


# Any, for botocore's stubs do not know what is private.
_endpoint: Any = Endpoint
_make_request = _endpoint.make_request
_get_response = _endpoint._get_response


def _install() -> None:
    _endpoint.make_request = _watching_make_request
    _endpoint._get_response = _watching_get_response


def _watching_make_request(endpoint: Any, operation: Any, request: dict[str, Any]) -> Any:
    service = operation.service_model.service_name
    for verdict in _verdicts:
        if code := verdict(Request(service, operation.name, _params(request["body"]))):
            return _refusal(code)
    if _recordings and service == "dynamodb" and operation.name in _CAPACITY_AWARE:
        params = json.loads(request["body"])
        request["body"] = json.dumps(params | {"ReturnConsumedCapacity": "TOTAL"}).encode()
    if service in _redirected:
        request["url"] = _redirected[service] + request["url_path"]
    return _make_request(endpoint, operation, request)


def _refusal(code: str) -> tuple[AWSResponse, dict[str, Any]]:
    parsed = {"Error": {"Code": code, "Message": "refused"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return AWSResponse("", 400, HTTPHeaders(), None), parsed


def _watching_get_response(endpoint: Any, request: Any, operation: Any, context: Any) -> Any:
    sent = Request(operation.service_model.service_name, operation.name, _params(request.body))
    with _lock:
        for recording in _recordings:
            recording.append(sent)
    if _signing_as:
        signed = request.headers["Authorization"].decode()
        request.headers["Authorization"] = _ACCESS_KEY.sub(f"Credential={_signing_as[-1]}/", signed)
    success, error = _get_response(endpoint, request, operation, context)
    if success is not None:
        sent.answer = success[1]
    return success, error


def _params(body: Any) -> dict[str, Any]:
    try:
        params: dict[str, Any] = json.loads(body)
    except (TypeError, ValueError):
        return {}  # a service that does not speak JSON
    return params
