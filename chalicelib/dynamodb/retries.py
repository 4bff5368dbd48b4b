"""How long requests to DynamoDB may take, and which of its errors are temporary. `aws/tries` sends and retries them."""

from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from pynamodb.exceptions import VerboseClientError

from chalicelib.aws import tries
from chalicelib.aws.tries import DEPLOYED, Failure, Timeouts, error_code
from chalicelib.dynamodb.client import connection

_TRANSIENT_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_PERMANENT_REASONS = {"ConditionalCheckFailed", "ValidationError", "ItemCollectionSizeLimitExceeded"}
_CONFLICT_ERRORS = {"TransactionConflictException", "TransactionInProgressException"}
_NOTHING_PROCESSED: Any = {"Error": {"Code": "ProvisionedThroughputExceededException"}}
"""A batch of which DynamoDB processed no key was throttled."""
_PERMANENT_ERRORS = {
    "ConditionalCheckFailedException",
    "ValidationException",
    "AccessDeniedException",
    "ResourceNotFoundException",
}
"""Errors that a retry cannot fix: a false condition, or a mistake in the code or the deployment."""


class Limits(NamedTuple):
    """What applies to an operation."""

    kind: str
    """Requests of one kind and table fail together. Reads may succeed while writes are throttled."""
    read_seconds: float
    """The read timeout of an attempt."""
    seconds: float
    """The longest duration of an attempt on a deployed stage, including the connection."""


def limits(timeouts: Timeouts) -> dict[str, Limits]:
    """The limits of each operation."""
    item_seconds, data_seconds = DEPLOYED.connect + DEPLOYED.item, DEPLOYED.connect + DEPLOYED.data
    return {
        "GetItem": Limits("read ", timeouts.item, item_seconds),
        "BatchGetItem": Limits("read ", timeouts.data, data_seconds),
        "Query": Limits("read ", timeouts.data, data_seconds),
        "UpdateItem": Limits("write ", timeouts.item, item_seconds),
        "TransactWriteItems": Limits("transaction ", timeouts.data, data_seconds),
    }


_limits = limits(tries.TIMEOUTS)


def send(operation: str, request: dict[str, Any], table: str, *, probe: bool = False) -> dict[str, Any]:
    """Send a request, and retry it while DynamoDB may succeed soon. `probe`: send it once in any case.

    Raises Unavailable if it does not succeed in time. Permanent errors are raised unchanged.
    """
    kind, read_seconds, seconds = _limits[operation]

    def attempt() -> dict[str, Any]:
        response = connection.dispatch(operation, request, read_seconds)
        if response.get("UnprocessedKeys") and not any(response["Responses"].values()):
            raise ClientError(_NOTHING_PROCESSED, operation)
        return response

    return tries.send(kind + table, seconds, attempt, classify=classify, probe=probe)


def classify(error: Exception) -> Failure:
    """The meaning of an error of DynamoDB."""
    code = error_code(error)
    if code in _CONFLICT_ERRORS:
        return tries.CONFLICT
    if code in _PERMANENT_ERRORS:
        return tries.REJECTED
    if isinstance(error, VerboseClientError):
        reasons = {reason.code for reason in error.cancellation_reasons if reason is not None}
        if reasons & _PERMANENT_REASONS:
            return tries.REJECTED
        if reasons and reasons <= _TRANSIENT_REASONS:
            return tries.CONFLICT if reasons == {"TransactionConflict"} else tries.ERROR
        failure = tries.classify(error)
        return tries.UNEXPECTED if failure is tries.REJECTED else failure
    return tries.classify(error)
