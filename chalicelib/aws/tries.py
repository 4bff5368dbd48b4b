"""Sends requests to AWS: decides whether a request is sent, how often it is retried, and when its caller gives up.

This is the only place that retries. The clients of botocore send each request once. A request is not sent, or not sent
again, if

- it could end after the deadline of the call (`core/deadline`);
- requests of its kind have failed repeatedly, and a probe is not due yet (`core/overload`, `Circuit`);
- the retry budget of this container is used up (`core/overload`, `RetryBudget`).

Then the caller gets Unavailable, with the seconds after which the client should retry.
"""

import random
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, HTTPClientError
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from chalicelib.core import deadline
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.overload import ERROR_STRIKES, TIMEOUT_STRIKES, Circuit, FailureMemory
from chalicelib.core.settings import settings

T = TypeVar("T")


class Timeouts(NamedTuple):
    """How long requests to AWS may take, in seconds."""

    connect: float
    """Connecting, including TLS."""
    item: float
    """The response to a request for one item of DynamoDB."""
    data: float
    """The response to a query, a batch or a transaction, whose duration depends on the amount of data."""
    other: float
    """The response of another service."""


DEPLOYED = Timeouts(connect=0.5, item=0.3, data=1.0, other=2.0)
"""DynamoDB responds to requests for one item within single-digit milliseconds. AWS recommends to give up a request
early, after 50 ms for example, because a second request is usually faster. So 0.3 s is rare in normal operation, and it
bounds how many requests wait when DynamoDB stops responding. For transactions AWS recommends at least a second, because
a transaction that is repeated too early is still in progress.
https://repost.aws/knowledge-center/dynamodb-high-latency
https://docs.aws.amazon.com/botocore/latest/reference/services/dynamodb/client/exceptions/TransactionInProgressException.html
"""
LOCAL = Timeouts(connect=1.0, item=3.0, data=3.0, other=3.0)
"""The local stage uses a simulator, which may be slow on a busy machine."""
TIMEOUTS = LOCAL if settings.local else DEPLOYED

FIRST_PAUSE = 0.04
"""The longest pause before the first retry, in seconds. Each further pause is three times as long."""

_THROTTLING_ERRORS = {
    "ThrottlingException",
    "ThrottledException",
    "Throttling",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
    "LimitExceededException",
}
_SERVER_ERROR = 500


class Failure(NamedTuple):
    """What the failure of an attempt means."""

    name: str
    max_tries: int
    """How often a request is sent at most that fails in this way."""
    cost: float
    """The tokens of the retry budget that a retry takes."""
    strikes: int
    """The strikes against the circuit."""


CONFLICT = Failure("conflict", max_tries=5, cost=1, strikes=0)
"""Another writer was at the same item. AWS responds normally."""
CLOSED = Failure("closed", max_tries=3, cost=1, strikes=ERROR_STRIKES)
"""AWS closed the connection, for example while the container was frozen. The retry opens a new one."""
ERROR = Failure("error", max_tries=3, cost=5, strikes=ERROR_STRIKES)
"""AWS throttles the request, or responds with 5xx."""
TIMEOUT = Failure("timeout", max_tries=2, cost=5, strikes=TIMEOUT_STRIKES)
"""AWS did not respond in time, or cannot be reached."""
UNEXPECTED = Failure("unexpected", max_tries=1, cost=0, strikes=0)
"""An error that a retry does not fix, and that is not the caller's, such as missing credentials."""
REJECTED = Failure("rejected", max_tries=1, cost=0, strikes=0)
"""AWS rejected the request. The error is raised unchanged."""


def classify(error: Exception) -> Failure:
    """The meaning of an error of botocore."""
    if isinstance(error, ClientError):
        if error_code(error) in _THROTTLING_ERRORS or _status(error) >= _SERVER_ERROR:
            return ERROR
        return REJECTED
    if isinstance(error, ConnectionClosedError):
        return CLOSED
    if isinstance(error, HTTPClientError | BotocoreConnectionError):
        return TIMEOUT
    return UNEXPECTED


def error_code(error: Exception) -> str:
    """The error code of AWS."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code"))


def _status(error: ClientError) -> int:
    """The HTTP status of a response. PynamoDB's errors do not have it, but their causes do."""
    response = error.response if "ResponseMetadata" in error.response else getattr(error.__cause__, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


_memory = FailureMemory()
_lock = threading.Lock()
"""Guards `_memory` where a request has failed: a batch of deliveries is handled by several threads."""


def forget_failures() -> None:
    """Forget all failures, as in a new container."""
    global _memory  # noqa: PLW0603  # one memory for each container
    _memory = FailureMemory()


def send(
    kind: str,
    seconds: float,
    request: Callable[[], T],
    *,
    classify: Callable[[Exception], Failure] = classify,
    probe: bool = False,
) -> T:
    """Call `request`, and call it again after failures that may be temporary.

    `kind` names the requests that fail together. `seconds` is the longest time that one attempt takes. `probe` sends
    the request once, even if its circuit is open.

    Raises Unavailable, or the error of AWS if AWS rejects the request.
    """
    memory = _memory
    circuit = memory.circuits.get(kind) or memory.circuit(kind)
    if circuit.openings and not probe:
        with _lock:
            if not circuit.admit(deadline.monotonic()):
                raise _unavailable(circuit)
    if deadline.remaining() < seconds:
        raise Unavailable
    attempt = 0
    while True:
        try:
            response = request()
        except (ClientError, BotoCoreError) as error:
            failure = classify(error)
            if failure is REJECTED:
                _record_success(memory, kind, circuit)
                raise
            pause = None if probe or circuit.openings else _pause_before_retry(memory, failure, attempt)
            if pause is None or deadline.remaining() < pause + seconds:
                _record_failure(memory, kind, circuit, failure)
                raise _unavailable(circuit) from error
        else:
            if circuit.strikes or not memory.is_clear:
                _record_success(memory, kind, circuit)
            return response
        deadline.sleep(pause)
        attempt += 1


def _pause_before_retry(memory: FailureMemory, failure: Failure, attempt: int) -> float | None:
    """The seconds until the next attempt, or None if there is none.

    The pauses are jittered by half, so that writers that conflict do not retry in step.
    """
    if attempt + 1 >= failure.max_tries or (failure is TIMEOUT and memory.timeouts):
        return None
    with _lock:
        if not memory.budget.take(failure.cost, deadline.monotonic()):
            return None
    return 0.0 if failure is CLOSED else FIRST_PAUSE * 3.0**attempt * (0.5 + _chance() / 2)


def _record_failure(memory: FailureMemory, kind: str, circuit: Circuit, failure: Failure) -> None:
    """The request has failed for good. A conflict shows that AWS responds."""
    with _lock:
        if failure is CONFLICT:
            memory.record_success(circuit)
        elif failure.strikes:
            was_open = circuit.openings > 0
            is_open = memory.record_failure(circuit, failure.strikes, deadline.monotonic(), _chance())
            if is_open and not was_open:
                logger.warning("requests to AWS fail repeatedly, and are not sent for a while", extra={"kind": kind})


def _record_success(memory: FailureMemory, kind: str, circuit: Circuit) -> None:
    """AWS has responded."""
    with _lock:
        if circuit.openings:
            logger.warning("requests to AWS succeed again", extra={"kind": kind})
        memory.record_success(circuit)


def _unavailable(circuit: Circuit) -> Unavailable:
    """The error for a request that failed, or was not sent. While the circuit is open, it says for how long."""
    if not circuit.openings:
        return Unavailable()
    return Unavailable(retry_after=circuit.retry_after(deadline.monotonic(), _chance()))


def _chance() -> float:
    return random.random()  # noqa: S311  # jitter is not a secret
