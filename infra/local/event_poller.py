"""Replaces what invokes the event handlers in AWS: Lambda's event source mappings of SQS, and EventBridge's schedules.

The handlers are those that Chalice has registered in `app.event_sources`. They receive events of the real shape. As in
AWS, each queue and the schedules are independent: a slow handler does not delay another one. Messages that a handler
reports as failed stay in the queue, and so does a whole batch if its handler raises. SQS delivers them again after the
visibility timeout, and moves them to the dead-letter queue after five attempts.

SQS delays messages by its own clock, which does not move with the stage's clock. This is correct, because a message is
only a hint: the scheduled run finds everything that is due by the stage's clock.
"""

import re
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import boto3
from chalice.app import ScheduledEventConfig, SQSEventConfig

from chalicelib.core import clock
from chalicelib.core.timestamps import iso
from infra.local.lambda_context import ACCOUNT, REGION, Context

POLL_INTERVAL = 1.0
"""Seconds between two polls of a queue if nothing wakes the poller. Finds delayed and redelivered messages."""

MAX_CONCURRENT_BATCHES = 32
"""The limit on the batches of one queue that are handled at the same time, if its event source allows more than one."""

_UNITS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


@dataclass
class SqsEventSource:
    """A queue, and the handler that receives its messages."""

    handler: str
    url: str
    arn: str
    batch_size: int
    max_concurrency: int
    """The number of batches that may be handled at the same time."""
    in_progress: int = 0
    """The number of batches that are being handled."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self) -> None:
        """Wait until another batch may be handled, and count it as in progress."""
        with self.changed:
            self.changed.wait_for(lambda: self.in_progress < self.max_concurrency)
            self.in_progress += 1

    def end(self) -> None:
        with self.changed:
            self.in_progress -= 1
            self.changed.notify_all()

    def wait(self) -> None:
        """Wait until no batch is in progress."""
        with self.changed:
            self.changed.wait_for(lambda: not self.in_progress)


@dataclass
class ScheduledEventSource:
    """A handler that runs every `interval` milliseconds of the stage's clock."""

    handler: str
    interval: int
    last_run: int


class EventPoller:
    """Invokes an app's SQS and schedule handlers, in threads (`start`) or step by step (`drain`, `sweep`)."""

    def __init__(self, app: Any, *, log: Callable[[str], None] | None = None) -> None:
        self._app = app
        self._log = log or (lambda line: print(line, file=sys.stderr, flush=True))
        self._sqs = boto3.client("sqs")
        self._queues = [self._queue(source) for source in app.event_sources if isinstance(source, SQSEventConfig)]
        self._schedules = [
            ScheduledEventSource(source.name, _interval(source), clock.now())
            for source in app.event_sources
            if isinstance(source, ScheduledEventConfig)
        ]
        self._stopping = threading.Event()
        self._workers = [
            _Worker(
                queue.handler,
                partial(self._feed_next, queue, in_thread=queue.max_concurrency > 1),
                self._stopping,
                self._log,
            )
            for queue in self._queues
        ]
        self._workers.append(_Worker("schedules", self._run_due_schedules, self._stopping, self._log))

    def start(self) -> None:
        for worker in self._workers:
            worker.thread.start()

    def stop(self) -> None:
        """Stop the threads after their current batches."""
        self._stopping.set()
        self.wake()
        for worker in self._workers:
            worker.thread.join(timeout=5)

    def wake(self) -> None:
        """Poll the queues now, because a message may have been sent. Fast, and safe to call from any thread."""
        for worker in self._workers:
            worker.wake.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the threads, so that only the caller's `drain` and `sweep` invoke handlers."""
        with ExitStack() as locks:
            for worker in self._workers:
                locks.enter_context(worker.lock)
            for queue in self._queues:
                queue.wait()
            yield

    def drain(self) -> int:
        """Handle every visible message, including those that are sent meanwhile. Returns the number of messages."""
        handled = 0
        with self.paused():
            while in_this_round := sum(self._drain_queue(queue) for queue in self._queues):
                handled += in_this_round
        return handled

    def _drain_queue(self, queue: SqsEventSource) -> int:
        handled = 0
        while count := self._feed_next(queue):
            handled += count
        return handled

    def sweep(self) -> None:
        """Run every scheduled handler now, due or not."""
        with self.paused():
            for schedule in self._schedules:
                self._run_schedule(schedule)

    def _feed_next(self, queue: SqsEventSource, *, in_thread: bool = False) -> int:
        """Handle one batch of a queue, in a new thread if requested. Returns the number of messages."""
        queue.begin()
        try:
            messages = self._receive(queue)
        except BaseException:
            queue.end()
            raise
        if messages and in_thread:
            threading.Thread(target=self._feed, args=(queue, messages), daemon=True).start()
        else:
            self._feed(queue, messages)
        return len(messages)

    def _run_due_schedules(self) -> int:
        """Run the scheduled handlers that are due. Returns their number."""
        due = [schedule for schedule in self._schedules if clock.now() - schedule.last_run >= schedule.interval]
        for schedule in due:
            self._run_schedule(schedule)
            self.wake()
        return len(due)

    def _queue(self, source: SQSEventConfig) -> SqsEventSource:
        name = source.queue or str(source.queue_arn).rpartition(":")[2]
        url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        max_concurrency = min(source.maximum_concurrency or 1, MAX_CONCURRENT_BATCHES)
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        return SqsEventSource(source.name, url, arn, source.batch_size, max_concurrency)

    def _receive(self, queue: SqsEventSource) -> list[dict[str, Any]]:
        response = self._sqs.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=min(queue.batch_size, 10),
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = response.get("Messages", [])
        return messages

    def _feed(self, queue: SqsEventSource, messages: list[dict[str, Any]]) -> None:
        """Handle a batch for which `begin` was called."""
        try:
            if messages:
                self._handle(queue, messages)
                self.wake()
        finally:
            queue.end()

    def _handle(self, queue: SqsEventSource, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [_record(queue, message) for message in messages]}
        try:
            result = self._app.handler_map[queue.handler](event, Context(queue.handler))
        except Exception:  # noqa: BLE001  # as in AWS, the whole batch stays in the queue
            self._log(f"poller: {queue.handler} failed; SQS delivers its messages again\n{traceback.format_exc()}")
            return
        failed = {failure["itemIdentifier"] for failure in (result or {}).get("batchItemFailures", [])}
        handled = [message for message in messages if message["MessageId"] not in failed]
        if failed:
            self._log(f"poller: {queue.handler} failed for {len(messages) - len(handled)} of {len(messages)} messages")
        if handled:
            self._sqs.delete_message_batch(QueueUrl=queue.url, Entries=_delete_entries(handled))

    def _run_schedule(self, schedule: ScheduledEventSource) -> None:
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
        except Exception:  # noqa: BLE001  # as in AWS, the next run happens anyway
            self._log(f"poller: {schedule.handler} failed\n{traceback.format_exc()}")


class _Worker:
    """A thread that repeats an action while there is work, and then waits until it is woken or POLL_INTERVAL is over.

    `act` returns the amount of work that it did. It never runs while another thread has `lock`.
    """

    def __init__(
        self, name: str, act: Callable[[], int], stopping: threading.Event, log: Callable[[str], None]
    ) -> None:
        self.lock = threading.RLock()
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"poller-{name}", daemon=True)
        self._act, self._stopping, self._log = act, stopping, log

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.wake.wait(POLL_INTERVAL)
            self.wake.clear()
            try:
                while not self._stopping.is_set() and self._act_once():
                    pass
            except Exception:  # noqa: BLE001  # an error in one round must not stop the thread
                if not self._stopping.is_set():
                    self._log(f"poller: {traceback.format_exc()}")

    def _act_once(self) -> int:
        with self.lock:
            return self._act()


def _interval(source: ScheduledEventConfig) -> int:
    """Milliseconds of a `rate(...)` expression. Raises ValueError for a cron expression, which the app does not use."""
    expression = source.schedule_expression
    text = expression if isinstance(expression, str) else expression.to_string()
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", text)
    if rate is None:
        raise ValueError(f"{source.name}: the local stage does not support the schedule {text!r}")
    return int(rate[1]) * _UNITS[rate[2]]


def _record(queue: SqsEventSource, message: dict[str, Any]) -> dict[str, Any]:
    """A message as Lambda delivers it: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
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


def _delete_entries(messages: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)]
