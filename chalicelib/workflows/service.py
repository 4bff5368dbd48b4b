"""What moves tasks on without anybody waiting: the queue's messages."""

from typing import Any

from pydantic import ValidationError

from chalicelib.log import logger
from chalicelib.tasks import upkeep
from chalicelib.types import Id, Request


class Message(Request):
    """A message of the workflow queue: ids alone."""

    owner: Id
    task: Id


def run(body: str | bytes, now: int) -> None:
    """Handle one message: make its task claimable. May run twice, late, or for a task that is gone."""
    try:
        message = Message.model_validate_json(body)
    except ValidationError:
        logger.error("a message that is not ours; dropped")  # again would not help
        return
    upkeep.make_claimable(message.owner, message.task, now)


def run_batch(records: list[dict[str, Any]], now: int) -> dict[str, list[dict[str, str]]]:
    """Handle a batch of SQS records; what failed is named in the answer, and only that comes again.

    The answer is Lambda's partial batch response, `{"batchItemFailures": [{"itemIdentifier": messageId}]}`.
    """
    failed = []
    for record in records:
        try:
            run(record["body"], now)
        except Exception:  # noqa: BLE001  # one bad record never blocks its batch
            logger.exception("a message could not be handled; it comes again")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
