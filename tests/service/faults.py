"""What AWS does and moto never does, injected where botocore sends.

    with faults.refused("UpdateItem", "TransactionConflictException", times=2):
        ...        # the first two are refused and change nothing, the rest go through
    with faults.answer_lost("TransactWriteItems"):
        ...        # the first is carried out, but its answer never arrives
    with faults.meanwhile("UpdateItem", another_writer):
        ...        # `another_writer()` is quicker: it runs just before the first is carried out

    with faults.died(3), pytest.raises(faults.Died):
        ...        # the process dies when the third request that changes something has been carried out

    with faults.from_call(2, "throttled"):
        ...        # the first two requests, of whatever kind, go through; from then on AWS throttles every one

All but the last two take `when`, a predicate of the request's parameters, where not every request is meant.
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
    """One rule: what happens to the next `left` requests of some operations."""

    operations: frozenset[str] | None
    """None: of all."""
    when: When
    left: int
    act: Callable[[Any, Send], Any]
    """Gets the request's parameters; of a rule for all operations, the operation."""
    struck: list[Params] = field(default_factory=list)
    """The requests that it happened to."""


_lock = threading.Lock()
_faults: list[Fault] = []
_endpoint: Any = Endpoint  # Any, for botocore's stubs do not know what is private
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
    """AWS answers with an error and changes nothing. `reasons` are a cancelled transaction's, in AWS's own JSON."""

    def act(params: Params, send: Send) -> Any:
        return _error(status, code, reasons)

    return _injected(Fault(frozenset({operation}), when, times, act))


def _error(status: int, code: str, reasons: Sequence[Mapping[str, Any]] | None = None) -> Any:
    parsed: dict[str, Any] = {
        "Error": {"Code": code, "Message": f"{code}, as injected"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0},
    }
    if reasons is not None:
        parsed["CancellationReasons"] = [{"Code": "None"} | dict(reason) for reason in reasons]
    return (_answer(status, parsed), parsed), None


def cut_off(operation: str, *, times: int = 1, when: When = _always) -> Any:
    """The request never reaches AWS: the connection is dead."""

    def act(params: Params, send: Send) -> Any:
        return None, _timeout()

    return _injected(Fault(frozenset({operation}), when, times, act))


def answer_lost(operation: str, *, times: int = 1, when: When = _always) -> Any:
    """AWS carries the request out, and the answer never arrives."""

    def act(params: Params, send: Send) -> Any:
        send()
        return None, _timeout()

    return _injected(Fault(frozenset({operation}), when, times, act))


def meanwhile(operation: str, other: Callable[[], object], *, times: int = 1, when: When = _always) -> Any:
    """Somebody else acts after the decision was made and before the request is carried out."""

    def act(params: Params, send: Send) -> Any:
        other()
        return send()

    return _injected(Fault(frozenset({operation}), when, times, act))


def partly(operation: str, change: Callable[[Params], None], *, times: int = 1, when: When = _always) -> Any:
    """AWS carries the request out and `change` alters its answer."""

    def act(params: Params, send: Send) -> Any:
        success, error = send()
        if success is not None:
            change(success[1])
        return success, error

    return _injected(Fault(frozenset({operation}), when, times, act))


class Died(BaseException):
    """The process is no more. No `except Exception` of the product outlives that."""


def nth_answer_lost(nth: int) -> Any:
    """Of the requests that change something, the `nth` (from 0) is carried out and its answer never arrives."""
    count = iter(range(1_000_000))

    def act(params: Params, send: Send) -> Any:
        answer = send()
        return (None, _timeout()) if next(count) == nth else answer

    return _injected(Fault(CHANGES, _always, 1_000_000, act))


CHANGES = frozenset({"TransactWriteItems", "UpdateItem", "PutItem", "DeleteItem", "SendMessage"})
"""Operations that change something."""


def died(after: int) -> Any:
    """The process dies when its `after`-th request that changes something has been carried out.

    That is every moment there is: between two of them nothing is different but in the process that is no more.
    """
    count = iter(range(1, 1_000_000))

    def act(params: Params, send: Send) -> Any:
        answer = send()
        if next(count) == after:
            raise Died
        return answer

    return _injected(Fault(CHANGES, _always, 1_000_000, act))


def _die(*_: object) -> Any:
    raise Died


def _carry_out_and_die(operation: str, send: Send) -> Any:
    send()
    raise Died


def _carry_out_in_vain(operation: str, send: Send) -> Any:
    send()
    return None, _timeout()


def _conflict(operation: str, send: Send) -> Any:
    """As AWS has them: for writes alone, and for tables alone."""
    if operation == "TransactWriteItems":
        return _error(400, "TransactionCanceledException", [{"Code": "TransactionConflict"}])
    return _error(400, "TransactionConflictException") if operation in CHANGES - {"SendMessage"} else send()


KINDS: dict[str, Callable[[str, Send], Any]] = {
    "throttled": lambda *_: _error(400, "ThrottlingException"),
    "in conflict": _conflict,
    "broken": lambda *_: _error(500, "InternalServerError"),
    "cut off": lambda *_: (None, _timeout()),
    "answer lost": _carry_out_in_vain,
    "dies before": _die,
    "dies after": _carry_out_and_die,
}
"""What may befall a request: AWS throttles it, is busy with another writer's, answers 500, never gets it, or carries it
out in vain; or the process dies before it is sent, or when it has been carried out."""


def from_call(number: int, kind: str) -> Any:
    """The `number`-th request (from 0), whatever it asks for, and every one after it meets this kind of fault, also
    that of whoever tries again."""
    count = iter(range(1_000_000))

    def act(operation: str, send: Send) -> Any:
        return send() if next(count) < number else KINDS[kind](operation, send)

    return _injected(Fault(None, _always, 1_000_000, act))


def about(*names: str) -> When:
    """Requests whose parameters mention every one of these texts."""
    return lambda params: all(name in json.dumps(params) for name in names)


def _answer(status: int, parsed: Params) -> AWSResponse:
    """An HTTP answer with a body as DynamoDB's and SQS's, https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html."""
    body = {"__type": parsed["Error"]["Code"], "message": parsed["Error"]["Message"]}
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
    raw: Any = _Raw(json.dumps(body).encode())
    return AWSResponse("https://aws", status, headers, raw)


class _Raw(BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _timeout() -> Exception:
    return ReadTimeoutError(endpoint_url="https://dynamodb")


@contextmanager
def _injected(fault: Fault) -> Iterator[Fault]:
    _endpoint._do_get_response = _faulty_do_get_response
    with _lock:
        _faults.append(fault)
    try:
        yield fault
    finally:
        with _lock:
            _faults[:] = [other for other in _faults if other is not fault]


def _faulty_do_get_response(endpoint: Any, request: Any, operation: Any, context: Any) -> Any:
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
                fault.struck.append(params)
                return fault, params
    return None, {}


def _params(body: Any) -> Params:
    try:
        params: Params = json.loads(body)
    except (TypeError, ValueError):
        return {}  # a service that does not speak JSON
    return params
