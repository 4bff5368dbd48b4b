"""A batch of a queue's messages, as Lambda hands it over and wants it answered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from pydantic import ValidationError

from chalicelib.core import metrics
from chalicelib.core.log import logger

MessageHandler = Callable[[str, int], None]


def handle_batch(
    handle: MessageHandler, records: list[dict[str, Any]], now: int, *, concurrency: int = 1
) -> dict[str, list[dict[str, str]]]:
    """Handle a batch of SQS records, `at_once` of them at the same time; what failed is named in the answer, and only
    that comes again.

    The answer is Lambda's partial batch response, `{"batchItemFailures": [{"itemIdentifier": messageId}]}`. What is
    not ours is dropped, since again would not help.
    """
    metrics.begin()
    if concurrency == 1:
        done = [_handle_one(handle, record, now) for record in records]
    else:
        with ThreadPoolExecutor(concurrency) as threads:
            handled = [threads.submit(copy_context().run, _handle_one, handle, record, now) for record in records]
        done = [each.result() for each in handled]
    noted = metrics.flush(now)
    if noted:
        logger.info("batch", extra=noted)
    failed = [record["messageId"] for record, well in zip(records, done, strict=True) if not well]
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}


def _handle_one(handle: MessageHandler, record: dict[str, Any], now: int) -> bool:
    try:
        handle(record["body"], now)
    except ValidationError:
        logger.error("a message that is not ours; dropped", extra={"messageId": record["messageId"]})
    except Exception:  # noqa: BLE001  # one bad record never blocks its batch
        logger.exception("a message could not be handled; it comes again")
        return False
    return True
