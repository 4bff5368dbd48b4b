"""50 workers submit and complete 5,000 tasks of one user, on a DynamoDB that cancels overlapping writes.

Each worker submits a task, claims it with an agent of its own, reports progress and completes it, and then does the
next one. It does not pause. The functions of the queues run as soon as they get a message, as many at once as there are
messages. Each worker's tasks have an intent that only its agent accepts, so that agents do not compete for tasks:
`make bench ARGS=contention` measures that. All tasks belong to one user.

Requests to DynamoDB take 10 to 20 ms of a simulated time (tests/support/contended_aws.py). So the result does not
depend on the machine. A run takes about ten minutes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from moto.dynamodb.models import dynamodb_backends

from bench import quiet
from chalicelib.core.settings import settings
from infra.local.gateway import Gateway, Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.http.budget_world import WORK, Agent, cache_queue_urls, register
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.contended_aws import ContendedAws
from tests.support.handlers import Handlers
from tests.support.users import make_user
from tests.support.virtual_time import VirtualTime

WORKERS, TASKS = 50, 5_000
MAX_CONFLICTS = 0.1
"""Conflicts for each task."""
START = 1_767_600_000_000
POLL_EVERY = 0.1
"""Seconds between two polls of a worker that waits for its task."""
RETRY_AFTER = 1.0
FUNCTIONS = {"workflow": "run_workflows", "events": "announce_events"}


@dataclass
class ContestResult:
    tasks: int
    seconds: float = 0
    """Simulated seconds from the first submission to the end of the last message."""
    statuses: Counter[str] = field(default_factory=Counter)
    """The tasks by their last status."""
    unpublished: int = 0
    conflicts: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    """Responses with status 503."""
    failed_messages: int = 0
    dead_letters: int = 0
    requests: int = 0

    @property
    def conflicts_per_task(self) -> float:
        return sum(self.conflicts.values()) / self.tasks

    def missed(self) -> list[str]:
        """What the run should have achieved and did not."""
        found = []
        if self.statuses != {"completed": self.tasks} or self.unpublished:
            found.append(
                f"{self.tasks} tasks completed and published: {dict(self.statuses)}, {self.unpublished} events"
            )
        if self.dead_letters or self.failed_messages:
            found.append(f"no failed message: {self.failed_messages}, of which {self.dead_letters} are dead letters")
        if self.unavailable:
            found.append(f"no response with status 503: {self.unavailable}")
        if self.conflicts_per_task >= MAX_CONFLICTS:
            found.append(f"less than {MAX_CONFLICTS} conflicts a task: {self.conflicts_per_task:.2f}")
        return found


class Contest:
    def __init__(self, app: Any, user: Client, workers: int, tasks: int) -> None:
        self.time, self.result = VirtualTime(), ContestResult(tasks)
        self._handlers, self._user, self._left = Handlers(app), user, tasks
        self._agents = [register(user, f"agent-{number}", f"intent-{number}") for number in range(workers)]
        self.aws = ContendedAws(self.time, START, self._invoke)

    def run(self) -> ContestResult:
        with self.aws.active():
            for number, agent in enumerate(self._agents):
                self.time.spawn(partial(self._work, number, agent))
            self.time.run()
        self._forget_ended()
        self.result.unpublished = sum("dueAt" in row for row in moto_aws.rows("tasks"))
        self.result.statuses.update(row["status"]["S"] for row in moto_aws.rows("tasks") if row["sk"] == {"S": "H"})
        self.result.seconds, self.result.requests = self.time.now, self.aws.requests
        self.result.conflicts = self.aws.conflicts
        self.result.failed_messages, self.result.dead_letters = self.aws.failed_messages, self.aws.dead_letters
        return self.result

    def _invoke(self, queue: str, body: Any) -> bool:
        return self._handlers.batch(FUNCTIONS[queue], body) == []

    def _work(self, number: int, agent: Agent) -> None:
        while self._left:
            self._left -= 1
            task_id = f"task-{self._left}"
            body = WORK | {"taskId": task_id, "intent": f"intent-{number}"}
            self._retry(partial(self._user.post, "/api/workflows/execute", body))
            while task_id not in self._claims(agent):
                self.time.sleep(POLL_EVERY)
            self._retry(partial(agent.progress, task_id))
            self._retry(partial(agent.complete, task_id))
            if self._left % 50 == 0:
                self._forget_ended()

    def _claims(self, agent: Agent) -> list[str]:
        return [command["task_id"] for command in self._retry(agent.poll).json()["commands"]]

    def _retry(self, call: Callable[[], Response]) -> Response:
        """Call until the response is not 503, as clients do. Raises AssertionError for any other error."""
        while (response := call()).status == 503:
            self.result.unavailable += 1
            self.time.sleep(RETRY_AFTER)
        assert response.status < 300, response
        return response

    def _forget_ended(self) -> None:
        """Remove the rows of tasks whose events are published, as their expiry does. moto is slow with many rows."""
        items = dynamodb_backends[ACCOUNT][REGION].tables["devflow-local-tasks"].items
        for key, parts in list(items.items()):
            rows = [each.to_json()["Attributes"] for each in parts.values()]
            ended = [row["status"]["S"] for row in rows if row["sk"] == {"S": "H"} and "dueAt" not in row]
            if ended and not any("dueAt" in row for row in rows):
                self.result.statuses.update(ended)
                del items[key]


@contextmanager
def no_rate_limits() -> Iterator[None]:
    before = settings.rate_limits
    object.__setattr__(settings, "rate_limits", False)  # the settings are frozen
    try:
        yield
    finally:
        object.__setattr__(settings, "rate_limits", before)


def run(app: Any, user: Client, workers: int, tasks: int) -> ContestResult:
    """Run a contest on the stage of `app`, which must be deployed on moto."""
    cache_queue_urls()
    with no_rate_limits():
        return Contest(app, user, workers, tasks).run()


def main() -> bool:
    """Print the result. Returns whether it is worse than required."""
    with quiet.capture_log(), moto_aws.deployed():
        from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

        result = run(app, make_user(Gateway(app)), WORKERS, TASKS)
    print(f"{WORKERS} workers, {TASKS} tasks of one user: {TASKS / result.seconds:.0f} tasks a second")
    print(f"requests to DynamoDB a task: {result.requests / TASKS:.1f}")
    print(f"conflicts a task: {result.conflicts_per_task:.3f} {dict(result.conflicts)}")
    print(f"responses with status 503: {result.unavailable}")
    print(f"failed messages: {result.failed_messages}, dead letters: {result.dead_letters}")
    for line in result.missed():
        print(f"Missed: {line}")
    return bool(result.missed())
