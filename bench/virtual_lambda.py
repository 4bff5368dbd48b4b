"""Lambda and SQS on a virtual clock: which container handles a request, and which messages are delivered again.

The code of the functions runs for real, one invocation after the other. During an invocation the clock moves by the
time that AWS takes (`tests/support/virtual_aws.py`) and by the time of the function itself. The next invocation may
begin earlier, in another container: containers share nothing but AWS.
"""

import heapq
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chalicelib.aws import tries
from chalicelib.core.overload import FailureMemory
from infra.local.lambda_context import Context
from tests.support import moto_aws
from tests.support.handlers import record
from tests.support.virtual_aws import VirtualAws

CPU_SECONDS = 0.005
"""The time of a warm invocation itself. bench/README.md has 3.1 ms on a whole core; 1,024 MB get 0.6 of one."""
COLD_SECONDS = 0.4
"""The time that the first invocation of a container takes longer (bench/README.md, "Cold start")."""
VISIBILITY_SECONDS = 180.0
MAX_RECEIVES = 5
"""As in infra/template.yaml."""
BATCH_SIZE = 10


class EventLoop:
    """Runs functions in the order of their virtual times."""

    def __init__(self, aws: VirtualAws) -> None:
        self.aws = aws
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, instant: float, run: Callable[[], None]) -> None:
        heapq.heappush(self._waiting, (instant, next(self._count), run))

    def run_until(self, end: float) -> None:
        while self._waiting and self._waiting[0][0] <= end:
            instant, _, run = heapq.heappop(self._waiting)
            self.aws.now = instant
            run()


@dataclass
class VirtualContext(Context):
    """The context of an invocation, whose remaining time follows the virtual clock."""

    remaining_seconds: Callable[[], float] = lambda: 0.0

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(self.remaining_seconds() * 1_000))


@dataclass
class Container:
    """One execution environment of a function."""

    memory: FailureMemory = field(default_factory=FailureMemory)
    free_at: float = 0.0


@dataclass(frozen=True)
class Invocation:
    """An invocation that has ended. Times are virtual seconds."""

    began: float
    ended: float
    failed: bool
    """Whether an HTTP function responded with 5xx."""


class Function:
    """A Lambda function. A request goes to the idle container that was used last, or else to a new one."""

    def __init__(self, name: str, timeout: float, aws: VirtualAws) -> None:
        self.name, self.timeout, self._aws = name, timeout, aws
        self.containers: list[Container] = []
        self.invocations: list[Invocation] = []

    def invoke(self, handler: Callable[[Any, Any], Any], event: Any) -> Any:
        began = self._aws.now
        idle = [each for each in self.containers if each.free_at <= began]
        if idle:
            container = max(idle, key=lambda each: each.free_at)
        else:
            container = Container()
            self.containers.append(container)
            self._aws.now += COLD_SECONDS
        deadline = self._aws.now + self.timeout
        tries._memory = container.memory
        response = handler(event, VirtualContext(self.name, remaining_seconds=lambda: deadline - self._aws.now))
        self._aws.now += CPU_SECONDS
        container.free_at = self._aws.now
        failed = isinstance(response, dict) and response.get("statusCode", 200) >= 500
        self.invocations.append(Invocation(began, self._aws.now, failed))
        return response


@dataclass
class _Message:
    body: str
    visible_at: float
    receives: int = 0


class Queue:
    """An SQS queue with its event source mapping and its dead-letter queue."""

    def __init__(self, function: Function, handler: Callable[[Any, Any], Any], loop: EventLoop) -> None:
        self._function, self._handler, self._loop = function, handler, loop
        self.waiting: list[_Message] = []
        self.dead: list[_Message] = []
        self.backlog: tuple[float, float] = (0.0, 0.0)
        """Messages that are sent between these times are delivered at the second one."""
        self.deliveries: list[tuple[float, int]] = []
        """When a message was handled, and how often it was delivered."""

    def send(self, body: str) -> None:
        now, (began, ended) = self._loop.aws.now, self.backlog
        self._schedule(_Message(body, ended if began <= now < ended else now))

    def _schedule(self, message: _Message) -> None:
        self.waiting.append(message)
        self._loop.at(message.visible_at, self._deliver)

    def _deliver(self) -> None:
        """Deliver one batch of the messages that are visible now."""
        now = self._loop.aws.now
        batch = [each for each in self.waiting if each.visible_at <= now][:BATCH_SIZE]
        for message in batch:
            self.waiting.remove(message)
            message.receives += 1
        if not batch:
            return
        records = [record(str(index), json.loads(message.body)) for index, message in enumerate(batch)]
        response = self._function.invoke(self._handler, {"Records": records})
        failed = {int(each["itemIdentifier"]) for each in response["batchItemFailures"]}
        for index, message in enumerate(batch):
            if index not in failed:
                self.deliveries.append((now, message.receives))
            elif message.receives >= MAX_RECEIVES:
                self.dead.append(message)
            else:
                message.visible_at = now + VISIBILITY_SECONDS
                self._schedule(message)


_QUEUES = {"workflow": "run_workflows", "events": "announce_events", "sweep": "sweep_backlog"}
"""The function of each queue. Nobody has a webhook, so the queue of webhooks is missing."""


class VirtualLambda:
    """The functions of the app behind their queues."""

    def __init__(self, app: Any, loop: EventLoop) -> None:
        self._app, self._loop = app, loop
        self.api = Function("api_handler", 29.0, loop.aws)
        self._sweep = Function("sweep", 50.0, loop.aws)
        self.queues = {
            queue: Queue(Function(name, 30.0, loop.aws), app.handler_map[name], loop) for queue, name in _QUEUES.items()
        }

    def __call__(self, event: Any, context: Any) -> Any:
        """Handle a request of API Gateway."""
        del context  # Lambda's own context replaces it
        response = self.api.invoke(self._app, event)
        self._collect_messages()
        return response

    @property
    def routes(self) -> Any:
        return self._app.routes

    def sweep(self) -> None:
        """Run the scheduled function. It may fail; the next run continues."""
        event = {"id": "1", "detail-type": "Scheduled Event", "source": "aws.events", "account": "1", "time": "",
                 "region": "", "resources": [], "version": "0", "detail": {}}  # fmt: skip
        self._sweep.invoke(self._run_sweep, event)
        self._collect_messages()

    def _run_sweep(self, event: Any, context: Any) -> None:
        from chalicelib.core.errors import Unavailable  # noqa: PLC0415

        try:
            self._app.handler_map["sweep"](event, context)
        except Unavailable:
            return

    def _collect_messages(self) -> None:
        """Move the messages that moto got to the queues here, which have the virtual clock."""
        for name, queue in self.queues.items():
            bodies = moto_aws.messages(name)
            for body in bodies:
                queue.send(body)
        moto_aws.empty_queues()
