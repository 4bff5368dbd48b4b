"""The workflow queue: the only SQS client. Messages carry ids alone; whoever handles one reads the rest afresh."""

import json
from functools import cache

from chalicelib import aws
from chalicelib.log import logger
from chalicelib.settings import settings


@cache
def _address(queue: str) -> str:
    return str(aws.client("sqs").get_queue_url(QueueName=settings.named(queue))["QueueUrl"])


def send(queue: str, message: dict[str, str]) -> bool:
    """Send one message; False, and a line in the log, if the queue would not take it.

    Not an error for the caller: what the message is about is stored with a due time, and the sweep sends it again.
    """
    try:
        aws.client("sqs").send_message(QueueUrl=_address(queue), MessageBody=json.dumps(message))
    except Exception:  # noqa: BLE001  # whatever it was, the sweep heals it
        logger.warning("message not sent; the sweep will", extra={"queue": queue}, exc_info=True)
        return False
    return True
