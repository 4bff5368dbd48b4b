"""The queues: the only SQS client. Messages carry ids alone; whoever handles one reads the rest afresh."""

import json
from functools import cache

from chalicelib import aws
from chalicelib.log import logger
from chalicelib.settings import MINUTE, SECOND, settings


@cache
def _address(queue: str) -> str:
    return str(aws.client("sqs").get_queue_url(QueueName=settings.named(queue))["QueueUrl"])


LONGEST_DELAY = 15 * MINUTE
"""SQS's own limit on how late a message may come."""


def send(queue: str, message: dict[str, str], delay: int = 0) -> bool:
    """Send one message, to come `delay` milliseconds later; False, and a line in the log, if the queue would not take
    it.

    Not an error for the caller: what the message is about is stored with a due time, and the sweep sends it again.
    """
    try:
        aws.client("sqs").send_message(
            QueueUrl=_address(queue), MessageBody=json.dumps(message), DelaySeconds=-(-delay // SECOND)
        )
    except Exception:  # noqa: BLE001  # whatever it was, the sweep heals it
        logger.warning("message not sent; the sweep will", extra={"queue": queue}, exc_info=True)
        return False
    return True
