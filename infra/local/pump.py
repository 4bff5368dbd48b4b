"""Stands in for what invokes the event handlers in AWS: SQS's event source mappings and EventBridge's schedules.

It finds them where Chalice keeps them (`app.event_sources`) and feeds them real event shapes. What a handler reports
as failed, or a batch whose handler raises, is left to the queue: it comes back after its visibility timeout, and
after five times goes to the dead-letter queue.
"""

import re
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from chalice.app import ScheduledEventConfig, SQSEventConfig

from chalicelib import clock
from chalicelib.times import iso
from infra.local.lambdas import ACCOUNT, REGION, Context

LOOK_EVERY = 1.0
"""Seconds between two looks at the queues when nothing wakes the pump: for messages that come back, or come late."""

_UNITS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


@dataclass
class Queue:
    """A queue and the handler that its messages go to."""

    handler: str
    url: str
    arn: str
    batch_size: int


@dataclass
class Schedule:
    """A handler that runs every `interval` milliseconds of the stage's clock."""

    handler: str
    interval: int
    last_run: int


class Pump:
    """Feeds an app's SQS and schedule handlers: in its own thread (`start`), or step by step (`drain`, `sweep`)."""

    def __init__(self, app: Any, *, log: Callable[[str], None] | None = None) -> None:
        self._app = app
        self._log = log or (lambda line: print(line, file=sys.stderr, flush=True))
        self._sqs = boto3.client("sqs")
        self._queues = [self._queue(source) for source in app.event_sources if isinstance(source, SQSEventConfig)]
        self._schedules = [
            Schedule(source.name, _interval(source), clock.now())
            for source in app.event_sources
            if isinstance(source, ScheduledEventConfig)
        ]
        self._alone = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch that it is at."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=5)

    def wake(self) -> None:
        """Look at the queues now: something may have been sent. Costs nothing, may be called from any thread."""
        self._wake.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the pump's own thread away meanwhile, so that the caller's steps alone decide what happens."""
        with self._alone:
            yield

    def drain(self) -> int:
        """Feed every message that is visible now, and those sent meanwhile; how many there were."""
        handled = 0
        with self._alone:
            for queue in self._queues:
                while messages := self._receive(queue):
                    self._feed(queue, messages)
                    handled += len(messages)
        return handled

    def sweep(self) -> None:
        """Run every scheduled handler now, due or not."""
        with self._alone:
            for schedule in self._schedules:
                self._fire(schedule)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            try:
                self.drain()
                with self._alone:
                    for schedule in self._schedules:
                        if not self._stopping.is_set() and clock.now() - schedule.last_run >= schedule.interval:
                            self._fire(schedule)
                            self.wake()
            except Exception:  # noqa: BLE001  # the pump outlives whatever goes wrong in one round
                if not self._stopping.is_set():
                    self._log(f"pump: {traceback.format_exc()}")

    def _queue(self, source: SQSEventConfig) -> Queue:
        name = source.queue or str(source.queue_arn).rpartition(":")[2]
        url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return Queue(source.name, url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", source.batch_size)

    def _receive(self, queue: Queue) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=min(queue.batch_size, 10),
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def _feed(self, queue: Queue, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [_record(queue, message) for message in messages]}
        try:
            answer = self._app.handler_map[queue.handler](event, Context(queue.handler))
        except Exception:  # noqa: BLE001  # as in AWS: the whole batch stays in the queue
            self._log(f"pump: {queue.handler} failed; its messages come back\n{traceback.format_exc()}")
            return
        failed = {failure["itemIdentifier"] for failure in (answer or {}).get("batchItemFailures", [])}
        done = [message for message in messages if message["MessageId"] not in failed]
        if failed:
            self._log(f"pump: {queue.handler} gave back {len(messages) - len(done)} of {len(messages)} messages")
        if done:
            self._sqs.delete_message_batch(QueueUrl=queue.url, Entries=_entries(done))

    def _fire(self, schedule: Schedule) -> None:
        now = clock.now()
        schedule.last_run = now
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": iso(now),
            "region": REGION,
            "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{schedule.handler}"],
            "detail": {},
        }
        try:
            self._app.handler_map[schedule.handler](event, Context(schedule.handler))
        except Exception:  # noqa: BLE001  # as in AWS: the next run comes anyway
            self._log(f"pump: {schedule.handler} failed\n{traceback.format_exc()}")


def _interval(source: ScheduledEventConfig) -> int:
    """Milliseconds of a `rate(...)`. Raises ValueError for a cron expression, which nothing here needs."""
    expression = source.schedule_expression
    text = expression if isinstance(expression, str) else expression.to_string()
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", text)
    if rate is None:
        raise ValueError(f"{source.name}: the local stage cannot run the schedule {text!r}")
    return int(rate[1]) * _UNITS[rate[2]]


def _record(queue: Queue, message: dict[str, Any]) -> dict[str, Any]:
    """A message as Lambda gets it, https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": REGION,
    }


def _entries(messages: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
