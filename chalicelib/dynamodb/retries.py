"""What is sent to DynamoDB again, because neither botocore nor PynamoDB does it.

`TransactionConflictException` (another write to the same item was under way), and a transaction cancelled for conflicts
or throttling alone. Throttled single requests and lost connections botocore has tried again already.
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
"""Errors that asking again cannot mend: an answer to a condition, or a mistake in the code or the deployment."""


def with_retries(send: Callable[[], T]) -> T:
    """Send, and again with jitter while other writers are in the way; Unavailable when that does not end."""
    for tried in range(MAX_TRIES):
        try:
            return send()
        except (VerboseClientError, BotoCoreError) as error:
            if not _is_transient(error):
                if error_code(error) in _PERMANENT_ERRORS:
                    raise
                raise Unavailable from error
            back_off(tried)
    raise Unavailable


def back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # jitter, no secret


def _is_transient(error: Exception) -> bool:
    """Whether an error is another writer's doing, so that the same request may succeed in a moment."""
    if error_code(error) in _TRANSIENT_ERRORS:
        return True
    reasons = getattr(error, "cancellation_reasons", None) or []
    codes = {reason.code for reason in reasons if reason is not None}
    return bool(codes) and codes <= _TRANSIENT_REASONS


def error_code(error: Exception) -> str:
    """AWS's name for what went wrong."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code"))
