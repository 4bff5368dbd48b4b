"""Sends messages to the queues. No other module uses SQS.

A message contains only ids and numbers. Its handler reads the current data from the tables.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from chalicelib.aws import session, tries
from chalicelib.core.log import logger
from chalicelib.core.settings import MINUTE, SECOND, settings


def _send(method: str, **params: Any) -> dict[str, Any]:
    """Call a method of the SQS client. Raises Unavailable if SQS does not respond in time."""
    call: Callable[..., dict[str, Any]] = getattr(session.client("sqs"), method)
    return tries.send("sqs", session.SECONDS, lambda: call(**params))


@cache
def _queue_url(queue: str) -> str:
    return str(_send("get_queue_url", QueueName=settings.resource_name(queue))["QueueUrl"])


MAX_DELAY = 15 * MINUTE
"""The longest delay of a message that SQS supports, in milliseconds."""


def send(queue: str, message: Mapping[str, str | int], delay_ms: int = 0) -> bool:
    """Send one message, which SQS delivers after `delay_ms` milliseconds. Returns False, and logs it, on failure.

    A failure is not an error for the caller: the task or delivery is stored with a due time, and the sweep sends the
    message again.
    """
    try:
        _send(
            "send_message",
            QueueUrl=_queue_url(queue),
            MessageBody=json.dumps(message),
            DelaySeconds=-(-delay_ms // SECOND),
        )
    except Exception:  # noqa: BLE001  # the sweep recovers from every failure
        logger.warning("message not sent; the sweep will send it", extra={"queue": queue}, exc_info=True)
        return False
    return True
