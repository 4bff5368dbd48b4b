"""The app's event handlers, called as AWS calls them."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from infra.local.lambda_context import ACCOUNT, REGION, Context
from tests.support import aws_requests


def much_time() -> int:
    return 60_000


@dataclass
class LambdaContext(Context):
    """The context of a Lambda invocation whose remaining time is given by the test."""

    left: Callable[[], int] = much_time
    """Returns the remaining milliseconds."""

    def get_remaining_time_in_millis(self) -> int:
        return self.left()


@contextmanager
def time_per_request(milliseconds: int, total: int) -> Iterator[Callable[[], int]]:
    """A function that returns the remaining time of an invocation. Only requests to AWS take time, the same for each.

    `total`: the remaining milliseconds at the beginning.
    """
    with aws_requests.recorded() as sent:
        yield lambda: total - milliseconds * len(sent)


class Handlers:
    """The event handlers of the app, grouped by their trigger."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def batch(self, handler: str, *bodies: Any, left: Callable[[], int] = much_time) -> list[str]:
        """Pass one batch of messages to an SQS handler. Returns the ids of failed messages (`message-0`, ...).

        `left`: returns the remaining milliseconds of the invocation.
        """
        records = [record(f"message-{index}", body) for index, body in enumerate(bodies)]
        response = self.app.handler_map[handler]({"Records": records}, LambdaContext(handler, left=left))
        assert set(response) == {"batchItemFailures"}
        assert all(set(failure) == {"itemIdentifier"} for failure in response["batchItemFailures"])
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def sweep(self, left: Callable[[], int] = much_time) -> None:
        """Run the scheduled handler. `left`: returns the remaining milliseconds of the invocation."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": "2025-01-24T00:00:00Z",
            "region": REGION,
            "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/devflow-local-sweep"],
            "detail": {},
        }
        assert self.app.handler_map["sweep"](event, LambdaContext("sweep", left=left)) is None


def record(identity: str, body: Any) -> dict[str, Any]:
    """An SQS message as Lambda receives it, https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "messageId": identity,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1737676800000",
            "SenderId": "AROAEXAMPLE:devflow-local-api_handler",
            "ApproximateFirstReceiveTimestamp": "1737676800001",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:devflow-local-workflow",
        "awsRegion": REGION,
    }
