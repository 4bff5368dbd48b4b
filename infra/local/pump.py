"""Stands in for what invokes the event handlers in AWS: SQS's event source mappings and EventBridge's schedules.

It finds them where Chalice keeps them (`app.event_sources`) and feeds them real event shapes. Each queue is fed by
itself, and the schedules by themselves, as in AWS: a handler that takes long holds up no other. What a handler reports
as failed, or a batch whose handler raises, is left to the queue: it comes back after its visibility timeout, and after
five times goes to the dead-letter queue.

A message may be delayed by SQS's own clock, which does not move with the stage's: a message is only ever a hint, and
what is due by the stage's clock is found by the scheduled run.
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
from infra.local.lambdas import ACCOUNT, REGION, Context

LOOK_EVERY = 1.0
"""Seconds between two looks at the queues when nothing wakes the pump: for messages that come back, or come late."""

MOST_BATCHES = 32
"""How many batches of one queue are handled at the same time at most, where its event source allows several."""

_UNITS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


@dataclass
class Queue:
    """A queue and the handler that its messages go to."""

    handler: str
    url: str
    arn: str
    batch_size: int
    batches: int
    """How many batches may be handled at the same time."""
    under_way: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self) -> None:
        """Wait until one batch more may be handled."""
        with self.changed:
            self.changed.wait_for(lambda: self.under_way < self.batches)
            self.under_way += 1

    def end(self) -> None:
        with self.changed:
            self.under_way -= 1
            self.changed.notify_all()

    def wait(self) -> None:
        """Wait until no batch is under way."""
        with self.changed:
            self.changed.wait_for(lambda: not self.under_way)


@dataclass
class Schedule:
    """A handler that runs every `interval` milliseconds of the stage's clock."""

    handler: str
    interval: int
    last_run: int


class Pump:
    """Feeds an app's SQS and schedule handlers: in threads of its own (`start`), or step by step (`drain`, `sweep`)."""

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
        self._stopping = threading.Event()
        self._workers = [
            _Worker(queue.handler, partial(self._feed_next, queue, aside=queue.batches > 1), self._stopping, self._log)
            for queue in self._queues
        ]
        self._workers.append(_Worker("schedules", self._fire_due, self._stopping, self._log))

    def start(self) -> None:
        for worker in self._workers:
            worker.thread.start()

    def stop(self) -> None:
        """End the threads after the batches that they are at."""
        self._stopping.set()
        self.wake()
        for worker in self._workers:
            worker.thread.join(timeout=5)

    def wake(self) -> None:
        """Look at the queues now: something may have been sent. Costs nothing, may be called from any thread."""
        for worker in self._workers:
            worker.wake.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the pump's own threads away meanwhile, so that the caller's steps alone decide what happens."""
        with ExitStack() as held:
            for worker in self._workers:
                held.enter_context(worker.alone)
            for queue in self._queues:
                queue.wait()
            yield

    def drain(self) -> int:
        """Feed every message that is visible now, and those sent meanwhile; how many there were."""
        handled = 0
        with self.paused():
            for queue in self._queues:
                while fed := self._feed_next(queue):
                    handled += fed
        return handled

    def sweep(self) -> None:
        """Run every scheduled handler now, due or not."""
        with self.paused():
            for schedule in self._schedules:
                self._fire(schedule)

    def _feed_next(self, queue: Queue, *, aside: bool = False) -> int:
        """Feed one batch of a queue, perhaps in a thread of its own; how many messages that were."""
        queue.begin()
        try:
            messages = self._receive(queue)
        except BaseException:
            queue.end()
            raise
        if messages and aside:
            threading.Thread(target=self._feed, args=(queue, messages), daemon=True).start()
        else:
            self._feed(queue, messages)
        return len(messages)

    def _fire_due(self) -> int:
        """Run the scheduled handlers whose time has come; how many there were."""
        due = [each for each in self._schedules if clock.now() - each.last_run >= each.interval]
        for schedule in due:
            self._fire(schedule)
            self.wake()
        return len(due)

    def _queue(self, source: SQSEventConfig) -> Queue:
        name = source.queue or str(source.queue_arn).rpartition(":")[2]
        url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        batches = min(source.maximum_concurrency or 1, MOST_BATCHES)
        return Queue(source.name, url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", source.batch_size, batches)

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
        try:
            if messages:
                self._handle(queue, messages)
                self.wake()
        finally:
            queue.end()

    def _handle(self, queue: Queue, messages: list[dict[str, Any]]) -> None:
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


class _Worker:
    """A thread that does one thing over and over as long as there is something to do, and looks again when it is woken
    or after a while. It is never at it while somebody else holds `alone`."""

    def __init__(
        self, name: str, act: Callable[[], int], stopping: threading.Event, log: Callable[[str], None]
    ) -> None:
        self.alone = threading.RLock()
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"pump-{name}", daemon=True)
        self._act, self._stopping, self._log = act, stopping, log

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.wake.wait(LOOK_EVERY)
            self.wake.clear()
            try:
                while not self._stopping.is_set() and self._once():
                    pass
            except Exception:  # noqa: BLE001  # the pump outlives whatever goes wrong in one round
                if not self._stopping.is_set():
                    self._log(f"pump: {traceback.format_exc()}")

    def _once(self) -> int:
        with self.alone:
            return self._act()


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
