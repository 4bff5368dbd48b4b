"""The app's event handlers, called as AWS calls them."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from infra.local.lambda_context import ACCOUNT, REGION, Context


@dataclass
class LambdaContext(Context):
    """What Lambda hands over, with a clock of its own: so much time is left, call after call; the last value stays."""

    left: tuple[int, ...] = (30_000,)

    def get_remaining_time_in_millis(self) -> int:
        first, *rest = self.left
        self.left = tuple(rest) or (first,)
        return first


class Handlers:
    """The handlers of the app, by what sets them off."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def batch(self, handler: str, *bodies: Any) -> list[str]:
        """Feed one batch of messages to an SQS handler; which of them (`message-0`, ...) it names as failed."""
        records = [record(f"message-{at}", body) for at, body in enumerate(bodies)]
        answer = self.app.handler_map[handler]({"Records": records}, LambdaContext(handler))
        assert set(answer) == {"batchItemFailures"}
        assert all(set(failure) == {"itemIdentifier"} for failure in answer["batchItemFailures"])
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def sweep(self, *left: int) -> None:
        """A scheduled run that has so many milliseconds left, asked again and again."""
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
        assert self.app.handler_map["sweep"](event, LambdaContext("sweep", left=left or (30_000,))) is None


def record(identity: str, body: Any) -> dict[str, Any]:
    """A message as Lambda gets it, https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
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
