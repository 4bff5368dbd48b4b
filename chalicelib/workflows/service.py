"""What moves tasks on without anybody waiting: the messages of the queues."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from chalicelib.log import logger
from chalicelib.tasks import outbox, upkeep
from chalicelib.types import Id, Request


class Submitted(Request):
    """A message of the workflow queue: ids alone."""

    owner: Id
    task: Id


class Happened(Submitted):
    """A message of the queue of events."""

    event: str


def make_claimable(body: str, now: int) -> None:
    """Handle one message of the workflow queue. May run twice, late, or for a task that is gone."""
    message = Submitted.model_validate_json(body)
    upkeep.make_claimable(message.owner, message.task, now)


def announce(body: str, now: int) -> None:
    """Handle one message of the queue of events. May run twice, late, or for an event that is gone."""
    del now  # when it happened is what counts
    message = Happened.model_validate_json(body)
    outbox.announce(message.owner, message.task, message.event)


Handle = Callable[[str, int], None]


def run_batch(handle: Handle, records: list[dict[str, Any]], now: int) -> dict[str, list[dict[str, str]]]:
    """Handle a batch of SQS records; what failed is named in the answer, and only that comes again.

    The answer is Lambda's partial batch response, `{"batchItemFailures": [{"itemIdentifier": messageId}]}`. What is
    not ours is dropped, since again would not help.
    """
    failed = []
    for record in records:
        try:
            handle(record["body"], now)
        except ValidationError:
            logger.error("a message that is not ours; dropped", extra={"messageId": record["messageId"]})
        except Exception:  # noqa: BLE001  # one bad record never blocks its batch
            logger.exception("a message could not be handled; it comes again")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
