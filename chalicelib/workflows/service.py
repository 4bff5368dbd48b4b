"""What moves tasks on without anybody waiting: the messages of the queues."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chalicelib import metrics
from chalicelib.log import logger
from chalicelib.tasks import upkeep
from chalicelib.types import Id, Request
from chalicelib.workflows import telling


class Submitted(Request):
    """A message of the workflow queue: ids alone."""

    owner: Id
    task: Id


class Happened(Submitted):
    """A message of the queue of events: an event of a task."""

    event: str


class CameOrWent(Request):
    """Another one: an agent with news."""

    owner: Id
    agent: Id


@cache
def _telling() -> TypeAdapter[Happened | CameOrWent]:
    return TypeAdapter(Happened | CameOrWent)  # built where it is used: most functions never do


def make_claimable(body: str, now: int) -> None:
    """Handle one message of the workflow queue. May run twice, late, or for a task that is gone."""
    message = Submitted.model_validate_json(body)
    upkeep.make_claimable(message.owner, message.task, now)


def announce(body: str, now: int) -> None:
    """Handle one message of the queue of events. May run twice, late, or for an event that is gone."""
    message = _telling().validate_json(body)
    if isinstance(message, Happened):
        telling.tell_of_task(message.owner, message.task, message.event, now)
    else:
        telling.tell_of_agent(message.owner, message.agent, now)


Handle = Callable[[str, int], None]


def run_batch(
    handle: Handle, records: list[dict[str, Any]], now: int, *, at_once: int = 1
) -> dict[str, list[dict[str, str]]]:
    """Handle a batch of SQS records, `at_once` of them at the same time; what failed is named in the answer, and only
    that comes again.

    The answer is Lambda's partial batch response, `{"batchItemFailures": [{"itemIdentifier": messageId}]}`. What is
    not ours is dropped, since again would not help.
    """
    metrics.begin()
    if at_once == 1:
        done = [_handled(handle, record, now) for record in records]
    else:
        with ThreadPoolExecutor(at_once) as threads:
            handled = [threads.submit(copy_context().run, _handled, handle, record, now) for record in records]
        done = [each.result() for each in handled]
    noted = metrics.taken(now)
    if noted:
        logger.info("batch", extra=noted)
    failed = [record["messageId"] for record, well in zip(records, done, strict=True) if not well]
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}


def _handled(handle: Handle, record: dict[str, Any], now: int) -> bool:
    try:
        handle(record["body"], now)
    except ValidationError:
        logger.error("a message that is not ours; dropped", extra={"messageId": record["messageId"]})
    except Exception:  # noqa: BLE001  # one bad record never blocks its batch
        logger.exception("a message could not be handled; it comes again")
        return False
    return True
