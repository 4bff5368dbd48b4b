"""Injects faults of AWS that moto never raises, at the point where botocore sends requests.

    with faults.refused("UpdateItem", "TransactionConflictException", times=2):
        ...        # the first two fail and change nothing; the others succeed
    with faults.response_lost("TransactWriteItems"):
        ...        # the first is executed, but its response never arrives
    with faults.interleaved("UpdateItem", another_writer):
        ...        # `another_writer()` runs just before the first is executed

    with faults.killed_after_write(3), pytest.raises(faults.ProcessKilled):
        ...        # the process is killed after the third request that writes something

    with faults.from_request(2, "throttled"):
        ...        # the first two requests of any kind succeed; AWS throttles all later ones

    with faults.at_requests({1: "response lost", 4: "throttled"}):
        ...        # the second and the fifth request have a fault each; all others succeed

All functions except the last three accept `when`, a predicate of the request's parameters that selects requests.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.endpoint import Endpoint
from botocore.exceptions import ReadTimeoutError

Params = dict[str, Any]
When = Callable[[Params], bool]
Send = Callable[[], Any]


@dataclass
class Fault:
    """A rule for the next `left` requests of some operations."""

    operations: frozenset[str] | None
    """None means all operations."""
    when: When
    left: int
    act: Callable[[Any, Send], Any]
    """Gets the request's parameters, or the operation if the rule is for all operations."""
    affected: list[Params] = field(default_factory=list)
    """The parameters of the requests that had this fault."""


_lock = threading.Lock()
_faults: list[Fault] = []
_endpoint: Any = Endpoint  # Any, because botocore's stubs do not contain private names
_do_get_response = _endpoint._do_get_response


def _always(params: Params) -> bool:
    return True


def refused(
    operation: str,
    code: str,
    *,
    times: int = 1,
    status: int = 400,
    reasons: Sequence[Mapping[str, Any]] | None = None,
    when: When = _always,
) -> Any:
    """AWS returns an error and changes nothing. `reasons`: of a cancelled transaction, in AWS's JSON."""

    def act(params: Params, send: Send) -> Any:
        return error(status, code, reasons)

    return _injected(Fault(frozenset({operation}), when, times, act))


def error(status: int, code: str, reasons: Sequence[Mapping[str, Any]] | None = None) -> Any:
    parsed: dict[str, Any] = {
        "Error": {"Code": code, "Message": f"{code}, as injected"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0},
    }
    if reasons is not None:
        parsed["CancellationReasons"] = [{"Code": "None"} | dict(reason) for reason in reasons]
    body = {"__type": code, "message": f"{code}, as injected"}
    return (response(status, body), parsed), None


def unreachable(operation: str, *, times: int = 1, when: When = _always) -> Any:
    """The request never reaches AWS: the connection times out."""

    def act(params: Params, send: Send) -> Any:
        return None, _timeout()

    return _injected(Fault(frozenset({operation}), when, times, act))


def response_lost(operation: str, *, times: int = 1, when: When = _always) -> Any:
    """AWS executes the request, but the response never arrives."""

    def act(params: Params, send: Send) -> Any:
        send()
        return None, _timeout()

    return _injected(Fault(frozenset({operation}), when, times, act))


def interleaved(operation: str, other: Callable[[], object], *, times: int = 1, when: When = _always) -> Any:
    """Another writer acts after the caller has made its decision and before its request is executed."""

    def act(params: Params, send: Send) -> Any:
        other()
        return send()

    return _injected(Fault(frozenset({operation}), when, times, act))


def response_changed(operation: str, change: Callable[[Params], None], *, times: int = 1, when: When = _always) -> Any:
    """AWS executes the request, and `change` modifies its response."""

    def act(params: Params, send: Send) -> Any:
        success, error = send()
        if success is not None:
            change(success[1])
        return success, error

    return _injected(Fault(frozenset({operation}), when, times, act))


class ProcessKilled(BaseException):
    """The process was killed. A BaseException, so that no `except Exception` of the product catches it."""


def nth_response_lost(nth: int) -> Any:
    """The `nth` request that writes something (from 0) is executed, but its response never arrives."""
    count = iter(range(1_000_000))

    def act(params: Params, send: Send) -> Any:
        response = send()
        return (None, _timeout()) if next(count) == nth else response

    return _injected(Fault(WRITES, _always, 1_000_000, act))


@contextmanager
def nth_write_late(nth: int) -> Iterator[None]:
    """The `nth` request that writes something (from 0) times out, and AWS executes it only at the end of the block."""
    count = iter(range(1_000_000))
    late: list[Send] = []

    def act(params: Params, send: Send) -> Any:
        if next(count) != nth:
            return send()
        late.append(send)
        return None, _timeout()

    with _injected(Fault(WRITES, _always, 1_000_000, act)):
        yield
    for send in late:
        send()


WRITES = frozenset({"TransactWriteItems", "UpdateItem", "PutItem", "DeleteItem", "SendMessage"})
"""Operations that write something."""


def killed_after_write(after: int) -> Any:
    """The process is killed after its `after`-th request that writes something (from 1).

    These are all moments that matter. Between two writes only the memory of the process changes, which is lost.
    """
    count = iter(range(1, 1_000_000))

    def act(params: Params, send: Send) -> Any:
        response = send()
        if next(count) == after:
            raise ProcessKilled
        return response

    return _injected(Fault(WRITES, _always, 1_000_000, act))


def _kill(*_: object) -> Any:
    raise ProcessKilled


def _send_and_kill(operation: str, send: Send) -> Any:
    send()
    raise ProcessKilled


def _send_and_lose_response(operation: str, send: Send) -> Any:
    send()
    return None, _timeout()


def _conflict(operation: str, send: Send) -> Any:
    """AWS raises conflicts only for writes, and only for tables."""
    if operation == "TransactWriteItems":
        return error(400, "TransactionCanceledException", [{"Code": "TransactionConflict"}])
    return error(400, "TransactionConflictException") if operation in WRITES - {"SendMessage"} else send()


KINDS: dict[str, Callable[[str, Send], Any]] = {
    "throttled": lambda *_: error(400, "ThrottlingException"),
    "in conflict": _conflict,
    "server error": lambda *_: error(500, "InternalServerError"),
    "unreachable": lambda *_: (None, _timeout()),
    "response lost": _send_and_lose_response,
    "killed before": _kill,
    "killed after": _send_and_kill,
}
"""Faults of a request. AWS throttles it, rejects it because of another writer, returns 500, never receives it, or
executes it and the response is lost. Or the process is killed before the request is sent or after it is executed."""


def from_request(number: int, kind: str) -> Any:
    """The `number`-th request (from 0) and all later ones, including retries, have this kind of fault."""
    count = iter(range(1_000_000))

    def act(operation: str, send: Send) -> Any:
        return send() if next(count) < number else KINDS[kind](operation, send)

    return _injected(Fault(None, _always, 1_000_000, act))


def at_requests(kinds: Mapping[int, str]) -> Any:
    """Each request with one of these numbers (from 0), including retries, has this kind of fault."""
    count = iter(range(1_000_000))

    def act(operation: str, send: Send) -> Any:
        kind = kinds.get(next(count))
        return send() if kind is None else KINDS[kind](operation, send)

    return _injected(Fault(None, _always, 1_000_000, act))


def about(*names: str) -> When:
    """Selects requests whose parameters contain all of these texts."""
    return lambda params: all(name in json.dumps(params) for name in names)


def response(status: int, body: Params) -> AWSResponse:
    """An HTTP response as DynamoDB and SQS send it.

    See https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html.
    """
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
    raw: Any = _Raw(json.dumps(body).encode())
    return AWSResponse("", status, headers, raw)


class _Raw(BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _timeout() -> Exception:
    return ReadTimeoutError(endpoint_url="https://dynamodb")


@contextmanager
def _injected(fault: Fault) -> Iterator[Fault]:
    _endpoint._do_get_response = _do_get_response_with_faults
    with _lock:
        _faults.append(fault)
    try:
        yield fault
    finally:
        with _lock:
            _faults[:] = [other for other in _faults if other is not fault]


def _do_get_response_with_faults(endpoint: Any, request: Any, operation: Any, context: Any) -> Any:
    def send() -> Any:
        return _do_get_response(endpoint, request, operation, context)

    fault, params = _next(operation.name, request.body)
    if fault is None:
        return send()
    return fault.act(operation.name if fault.operations is None else params, send)


def _next(operation: str, body: Any) -> tuple[Fault | None, Params]:
    with _lock:
        for fault in _faults:
            if (fault.operations is not None and operation not in fault.operations) or not fault.left:
                continue
            params = _params(body)
            if fault.when(params):
                fault.left -= 1
                fault.affected.append(params)
                return fault, params
    return None, {}


def _params(body: Any) -> Params:
    try:
        params: Params = json.loads(body)
    except (TypeError, ValueError):
        return {}  # a service that does not speak JSON
    return params
