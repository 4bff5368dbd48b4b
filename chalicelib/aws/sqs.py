"""The queues: the only SQS client. Messages carry ids alone; whoever handles one reads the rest afresh."""

import json
from functools import cache

from chalicelib.aws import session
from chalicelib.core.log import logger
from chalicelib.core.settings import MINUTE, SECOND, settings


@cache
def _queue_url(queue: str) -> str:
    return str(session.client("sqs").get_queue_url(QueueName=settings.resource_name(queue))["QueueUrl"])


MAX_DELAY = 15 * MINUTE
"""SQS's own limit on how late a message may come."""


def send(queue: str, message: dict[str, str], delay_ms: int = 0) -> bool:
    """Send one message, to come `delay` milliseconds later; False, and a line in the log, if the queue would not take
    it.

    Not an error for the caller: what the message is about is stored with a due time, and the sweep sends it again.
    """
    try:
        session.client("sqs").send_message(
            QueueUrl=_queue_url(queue), MessageBody=json.dumps(message), DelaySeconds=-(-delay_ms // SECOND)
        )
    except Exception:  # noqa: BLE001  # whatever it was, the sweep heals it
        logger.warning("message not sent; the sweep will", extra={"queue": queue}, exc_info=True)
        return False
    return True
