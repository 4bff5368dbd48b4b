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

from chalicelib.errors import Unavailable

T = TypeVar("T")

TRIES = 8
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_PASSING_ERRORS = {"TransactionConflictException", "TransactionInProgressException"}
_OURS = {"ConditionalCheckFailedException", "ValidationException", "AccessDeniedException", "ResourceNotFoundException"}
"""Errors that asking again cannot mend: an answer to a condition, or a mistake in the code or the deployment."""


def patiently(send: Callable[[], T]) -> T:
    """Send, and again with jitter while other writers are in the way; Unavailable when that does not end."""
    for tried in range(TRIES):
        try:
            return send()
        except (VerboseClientError, BotoCoreError) as error:
            if not _passing(error):
                if code(error) in _OURS:
                    raise
                raise Unavailable from error
            pause(tried)
    raise Unavailable


def pause(tried: int) -> None:
    time.sleep(random.uniform(0, 0.01 * 2**tried))  # noqa: S311  # jitter, no secret


def _passing(error: Exception) -> bool:
    """Whether an error is another writer's doing, so that the same request may succeed in a moment."""
    if code(error) in _PASSING_ERRORS:
        return True
    reasons = getattr(error, "cancellation_reasons", None) or []
    codes = {reason.code for reason in reasons if reason is not None}
    return bool(codes) and codes <= _PASSING


def code(error: Exception) -> str:
    """AWS's name for what went wrong."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code"))
