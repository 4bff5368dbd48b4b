"""The app's event handlers, called as AWS calls them."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from infra.local.lambda_context import ACCOUNT, REGION, Context


@dataclass
class LambdaContext(Context):
    """The context of a Lambda invocation with scripted remaining times. The last value repeats."""

    left: tuple[int, ...] = (30_000,)
    """Milliseconds that each call of `get_remaining_time_in_millis` returns, in order."""

    def get_remaining_time_in_millis(self) -> int:
        first, *rest = self.left
        self.left = tuple(rest) or (first,)
        return first


class Handlers:
    """The event handlers of the app, grouped by their trigger."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def batch(self, handler: str, *bodies: Any) -> list[str]:
        """Pass one batch of messages to an SQS handler. Returns the ids of failed messages (`message-0`, ...)."""
        records = [record(f"message-{index}", body) for index, body in enumerate(bodies)]
        response = self.app.handler_map[handler]({"Records": records}, LambdaContext(handler))
        assert set(response) == {"batchItemFailures"}
        assert all(set(failure) == {"itemIdentifier"} for failure in response["batchItemFailures"])
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def sweep(self, *left: int) -> None:
        """Run the scheduled handler. `left`: the remaining milliseconds that Lambda reports, call after call."""
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
