"""Handles a batch of SQS messages for a Lambda function."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from chalicelib.core import deadline, metrics
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.threads import run_concurrently

MessageHandler = Callable[[str, int], None]

MIN_SECONDS = 1.0
"""A message is not started if less than this is left until the deadline. It is delivered again instead."""


def handle_batch(
    handle: MessageHandler, records: list[dict[str, Any]], context: Any, now: int, *, concurrency: int = 1
) -> dict[str, list[dict[str, str]]]:
    """Handle a batch of SQS records, at most `concurrency` at the same time. `context` is Lambda's.

    Messages that cannot be handled before the deadline fail, while there is still time to report them.

    Returns Lambda's partial batch response, `{"batchItemFailures": [{"itemIdentifier": messageId}]}`
    (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html). SQS delivers only these messages
    again. A message with an unknown format is not among them, because another attempt would fail too.
    """
    metrics.begin()
    with deadline.within(context):
        if concurrency == 1:
            succeeded = [_handle_one(handle, record, now) for record in records]
        else:
            succeeded = run_concurrently(lambda record: _handle_one(handle, record, now), records, concurrency)
    fields = metrics.flush(now)
    if fields:
        logger.info("batch", extra=fields)
    failed = [record["messageId"] for record, success in zip(records, succeeded, strict=True) if not success]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _handle_one(handle: MessageHandler, record: dict[str, Any], now: int) -> bool:
    """Whether the message is done: handled, or discarded because of its format."""
    if deadline.remaining() < MIN_SECONDS:
        logger.warning("no time is left for this message; SQS will deliver it again")
        return False
    try:
        handle(record["body"], now)
    except ValidationError:
        logger.error("message discarded, because its format is unknown", extra={"messageId": record["messageId"]})
    except Unavailable as error:
        logger.warning("message could not be handled; SQS will deliver it again", exc_info=error.__cause__ is not None)
        return False
    except Exception:  # noqa: BLE001  # one failed message must not block its batch
        logger.exception("message could not be handled; SQS will deliver it again")
        return False
    return True
