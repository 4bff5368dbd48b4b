"""Results that the platform has not taken yet, on disk: what was done survives whatever happens to the agent."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from random import random
from typing import Literal

from devflow.backoff import compute_retry_delay
from devflow.api_client import ApiClient, Json
from devflow.clock import Clock
from devflow.errors import DevFlowError, NotLoggedInError, RequestRejectedError, UnavailableError
from devflow.private_files import read_private, remove_file, write_private

_TOO_LARGE, _INVALID = 413, 400


@dataclass(frozen=True)
class TaskResult:
    """How an attempt ended: one report, made once and sent until it is answered."""

    task_id: str
    attempt: int
    slug: str
    """Of the attempt, as a file is named after it."""
    kind: Literal["complete", "fail"]
    body: Json

    @property
    def attempt_key(self) -> tuple[str, int]:
        return self.task_id, self.attempt


class Outbox:
    """A directory with a file for each result; it is made with the first one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, result: TaskResult) -> None:
        """Keep it; when this returns, it survives a power cut. The first result of an attempt counts."""
        if not self._path(result).exists():
            write_private(self._path(result), json.dumps(asdict(result)))

    def load_all(self) -> list[TaskResult]:
        """Those that wait, the oldest first. What cannot be read (no file of ours is so) is left alone."""
        found = []
        for path in sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                found.append(TaskResult(**json.loads(read_private(path) or "")))
            except (ValueError, TypeError, DevFlowError):
                continue
        return found

    def remove(self, result: TaskResult) -> None:
        remove_file(self._path(result))

    def _path(self, result: TaskResult) -> Path:
        return self._directory / f"{result.slug}.json"


class Outcome(Enum):
    """What an answer means for a result."""

    ACCEPTED = "taken"
    REJECTED = "refused"
    """The task is not this agent's any more, or has ended: the result is void."""
    RESEND_SMALLER = "shorter"
    """Send less."""


def classify_response(result: TaskResult, error: RequestRejectedError | None) -> Outcome:
    """docs/protocol.md, "What to do on each status"."""
    if error is None:
        return Outcome.ACCEPTED
    if error.status == _TOO_LARGE or (error.status == _INVALID and result.kind == "complete"):
        return Outcome.RESEND_SMALLER
    return Outcome.REJECTED


def shrink_result(result: TaskResult, error: RequestRejectedError) -> TaskResult:
    """The same outcome with less in it, so that a task never hangs because its result is not accepted."""
    if error.status == _TOO_LARGE and "output" in result.body:
        body = {name: value for name, value in result.body.items() if name != "output"}
        return TaskResult(result.task_id, result.attempt, result.slug, result.kind, body)
    body = {"error": f"The result was refused: {error}"[:1_000], "attempt": result.attempt}
    return TaskResult(result.task_id, result.attempt, result.slug, "fail", body)


class ResultSender:
    """Sends what is in the outbox, one after the other, on a thread of its own, until all was taken."""

    def __init__(
        self,
        outbox: Outbox,
        client: ApiClient,
        log: Callable[[str], None],
        *,
        on_unauthorized: Callable[[], None] = lambda: None,
        on_settled: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        """`say` tells whoever reads the agent's log what became of a result; `settled` is called after each."""
        self._outbox, self._client, self._log = outbox, client, log
        self._on_unauthorized, self._on_settled = on_unauthorized, on_settled
        self._clock, self._jitter = clock or Clock(), jitter
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._pending: dict[tuple[str, int], TaskResult] = {result.attempt_key: result for result in outbox.load_all()}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, result: TaskResult) -> None:
        """Take it over. It is in the outbox already."""
        with self._lock:
            self._pending[result.attempt_key] = result
        self._inbox.put(item=True)

    def pending_attempts(self) -> list[tuple[str, int]]:
        """The attempts whose results were not taken yet: this agent still stands for them."""
        with self._lock:
            return list(self._pending)

    def _run(self) -> None:
        failures = 0
        while True:
            with self._lock:
                result = next(iter(self._pending.values()), None)
            if result is None:
                self._clock.wait(self._inbox, 3600.0)
                continue
            try:
                self._client.send("POST", f"/api/tasks/{result.task_id}/{result.kind}", result.body)
            except (UnavailableError, NotLoggedInError) as error:
                if isinstance(error, NotLoggedInError):
                    self._on_unauthorized()
                failures += 1
                after = error.retry_after if isinstance(error, UnavailableError) else None
                self._pause(compute_retry_delay(failures, self._jitter(), after))
            except RequestRejectedError as error:
                failures = 0
                self._handle_outcome(result, error)
            else:
                failures = 0
                self._handle_outcome(result, None)

    def _pause(self, seconds: float) -> None:
        """Wait, whatever else is put into the outbox meanwhile."""
        end = self._clock.now() + seconds
        while (left := end - self._clock.now()) > 0:
            self._clock.wait(self._inbox, left)

    def _handle_outcome(self, result: TaskResult, error: RequestRejectedError | None) -> None:
        found = classify_response(result, error)
        if error is not None and found is Outcome.RESEND_SMALLER and (less := shrink_result(result, error)) != result:
            with self._lock:
                self._pending[result.attempt_key] = less
            return
        if found is Outcome.ACCEPTED:
            self._log(f"{result.task_id}: reported")
        else:
            self._log(f"{result.task_id}: the result of attempt {result.attempt} came too late or is not wanted: {error}")
        self._outbox.remove(result)
        with self._lock:
            del self._pending[result.attempt_key]
        self._on_settled()
