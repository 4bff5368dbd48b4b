"""Retries of requests to DynamoDB that neither botocore nor PynamoDB retries.

These are `TransactionConflictException` (another write to the same item was in progress), and transactions that were
cancelled only because of conflicts or throttling. botocore has already retried throttled single requests and lost
connections.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError
from pynamodb.exceptions import VerboseClientError

from chalicelib.core.errors import Unavailable

T = TypeVar("T")

MAX_TRIES = 8
_TRANSIENT_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_TRANSIENT_ERRORS = {"TransactionConflictException", "TransactionInProgressException"}
_PERMANENT_ERRORS = {
    "ConditionalCheckFailedException",
    "ValidationException",
    "AccessDeniedException",
    "ResourceNotFoundException",
}
"""Errors that a retry cannot fix: a false condition, or a mistake in the code or the deployment."""


def with_retries(send: Callable[[], T]) -> T:
    """Call `send`, and retry it with jitter while other writers conflict with it.

    Raises Unavailable after MAX_TRIES attempts, and at once for other errors that may be temporary.
    Permanent errors are raised unchanged.
    """
    for attempt in range(MAX_TRIES):
        try:
            return send()
        except (VerboseClientError, BotoCoreError) as error:
            if not _is_transient(error):
                if error_code(error) in _PERMANENT_ERRORS:
                    raise
                raise Unavailable from error
            back_off(attempt)
    raise Unavailable


def back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # jitter is not a secret


def _is_transient(error: Exception) -> bool:
    """Whether another writer caused the error, so that the same request may succeed soon."""
    if error_code(error) in _TRANSIENT_ERRORS:
        return True
    reasons = getattr(error, "cancellation_reasons", None) or []
    codes = {reason.code for reason in reasons if reason is not None}
    return bool(codes) and codes <= _TRANSIENT_REASONS


def error_code(error: Exception) -> str:
    """The error code of AWS."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code"))
