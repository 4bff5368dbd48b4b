"""Records, redirects and intercepts the requests that botocore sends to AWS.

    with aws_requests.recorded() as sent:
        gateway.call(...)
    assert [request.operation for request in sent] == ["UpdateItem"]

A recording contains every attempt, so retries are visible, and the requests of all threads of the process.
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
    """AWS's name of the operation: `UpdateItem`, `SendMessage`, ..."""
    params: dict[str, Any]
    """The parameters, in AWS's JSON."""
    response: dict[str, Any] = field(default_factory=dict)
    """The parsed response. Empty if there was none."""

    @property
    def tables(self) -> list[str]:
        """The names of the tables that it reads or writes, each once, sorted."""
        parts = [part for item in self.params.get("TransactItems", []) for part in item.values()]
        names = {part["TableName"] for part in (self.params, *parts) if "TableName" in part}
        return sorted(names | set(self.params.get("RequestItems", {})))

    @property
    def units(self) -> tuple[float, float]:
        """The consumed read and write units as the server reports them.

        moto reports constants. DynamoDB Local reports twice the units that AWS bills for the writes of a transaction.
        """
        consumed = self.response.get("ConsumedCapacity") or []
        total = sum(part["CapacityUnits"] for part in (consumed if isinstance(consumed, list) else [consumed]))
        writes = self.operation in {"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}
        return (0.0, total) if writes else (total, 0.0)


class RecordedRequests(list[Request]):
    """The requests of one recording, in order."""

    def to(self, service: str) -> list[Request]:
        return [request for request in self if request.service == service]

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self]

    @property
    def units(self) -> tuple[float, float]:
        """The read and write units of all requests."""
        pairs = [request.units for request in self]
        return sum(read for read, _ in pairs), sum(write for _, write in pairs)


Interceptor = Callable[[Request], str | None]
"""Returns the code of the error with which AWS rejects a request, or None to let the request pass."""

_lock = threading.Lock()
_recordings: list[RecordedRequests] = []
_redirected: dict[str, str] = {}
_signing_as: list[str] = []
_interceptors: list[Interceptor] = []


@contextmanager
def recorded() -> Iterator[RecordedRequests]:
    """Record the requests of this process to AWS during the block. Blocks may be nested."""
    _install()
    sent = RecordedRequests()
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
    """Send the requests of all clients for a service to `endpoint` instead."""
    _install()
    _redirected[service] = endpoint
    try:
        yield
    finally:
        del _redirected[service]


@contextmanager
def signing_as(access_key: str) -> Iterator[None]:
    """Use another access key in the requests of all clients.

    DynamoDB Local has a database for each access key, unless it runs with `-sharedDb`. It checks no signature.
    """
    _install()
    _signing_as.append(access_key)
    try:
        yield
    finally:
        _signing_as.pop()


def is_redirected(service: str) -> bool:
    return service in _redirected


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Let `interceptor` reject requests before they are sent."""
    _install()
    _interceptors.append(interceptor)
    try:
        yield
    finally:
        _interceptors.remove(interceptor)


# Any, because botocore's stubs do not contain private names.
_endpoint: Any = Endpoint
_make_request = _endpoint.make_request
_get_response = _endpoint._get_response


def _install() -> None:
    _endpoint.make_request = _recording_make_request
    _endpoint._get_response = _recording_get_response


def _recording_make_request(endpoint: Any, operation: Any, request: dict[str, Any]) -> Any:
    service = operation.service_model.service_name
    for interceptor in _interceptors:
        if code := interceptor(Request(service, operation.name, _params(request["body"]))):
            return _rejection(code)
    if _recordings and service == "dynamodb" and operation.name in _CAPACITY_AWARE:
        params = json.loads(request["body"])
        request["body"] = json.dumps(params | {"ReturnConsumedCapacity": "TOTAL"}).encode()
    if service in _redirected:
        request["url"] = _redirected[service] + request["url_path"]
    return _make_request(endpoint, operation, request)


def _rejection(code: str) -> tuple[AWSResponse, dict[str, Any]]:
    parsed = {"Error": {"Code": code, "Message": "refused"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return AWSResponse("", 400, HTTPHeaders(), None), parsed


def _recording_get_response(endpoint: Any, request: Any, operation: Any, context: Any) -> Any:
    sent = Request(operation.service_model.service_name, operation.name, _params(request.body))
    with _lock:
        for recording in _recordings:
            recording.append(sent)
    if _signing_as:
        signed = request.headers["Authorization"].decode()
        request.headers["Authorization"] = _ACCESS_KEY.sub(f"Credential={_signing_as[-1]}/", signed)
    success, error = _get_response(endpoint, request, operation, context)
    if success is not None:
        sent.response = success[1]
    return success, error


def _params(body: Any) -> dict[str, Any]:
    try:
        params: dict[str, Any] = json.loads(body)
    except (TypeError, ValueError):
        return {}  # a service that does not speak JSON
    return params
