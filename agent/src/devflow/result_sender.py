"""Sends the results in the outbox to the platform, until each one is accepted or rejected."""

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from queue import SimpleQueue
from random import random

from devflow.api_client import ApiClient
from devflow.backoff import compute_retry_delay
from devflow.clock import Clock
from devflow.errors import NotLoggedInError, RequestRejectedError, UnavailableError
from devflow.outbox import Outbox, TaskResult

_TOO_LARGE, _INVALID = 413, 400


class Outcome(Enum):
    """What a response means for a result."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The task does not belong to this agent any more, or it has ended. The result is dropped."""
    RESEND_SMALLER = "resend smaller"
    """The result is too large or not valid. Send a smaller one."""


def classify_response(result: TaskResult, error: RequestRejectedError | None) -> Outcome:
    """Decide what a response means (docs/protocol.md, "What to do on each status"). `error` is None on success."""
    if error is None:
        return Outcome.ACCEPTED
    if error.status == _TOO_LARGE or (error.status == _INVALID and result.kind == "complete"):
        return Outcome.RESEND_SMALLER
    return Outcome.REJECTED


def shrink_result(result: TaskResult, error: RequestRejectedError) -> TaskResult:
    """Return a smaller result for the same attempt, so that a rejected result never leaves the task unfinished.

    A result that is too large loses its output. Any other one becomes a failure with the reason of the rejection.
    """
    if error.status == _TOO_LARGE and "output" in result.body:
        body = {name: value for name, value in result.body.items() if name != "output"}
        return replace(result, body=body)
    body = {"error": f"The result was rejected: {error}"[:1_000], "attempt": result.attempt}
    return replace(result, kind="fail", body=body)


class ResultSender:
    """Sends one result after the other on its own thread. Any thread may call the methods."""

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
        """`log` writes to the agent's log. `on_settled` is called after each result that was accepted or rejected."""
        self._outbox, self._client, self._log = outbox, client, log
        self._on_unauthorized, self._on_settled = on_unauthorized, on_settled
        self._clock, self._jitter = clock or Clock(), jitter
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._pending: dict[tuple[str, int], TaskResult] = {result.attempt_key: result for result in outbox.load_all()}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="result-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, result: TaskResult) -> None:
        """Queue a result, which the caller has saved in the outbox."""
        with self._lock:
            self._pending[result.attempt_key] = result
        self._inbox.put(item=True)

    def pending_attempts(self) -> list[tuple[str, int]]:
        """Return the attempts with unsent results. The agent still reports their tasks as its own."""
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
                retry_after = error.retry_after if isinstance(error, UnavailableError) else None
                self._pause(compute_retry_delay(failures, self._jitter(), retry_after))
            except RequestRejectedError as error:
                failures = 0
                self._handle_outcome(result, error)
            else:
                failures = 0
                self._handle_outcome(result, None)

    def _pause(self, seconds: float) -> None:
        """Wait for the whole time, even if results are queued in the meantime."""
        end = self._clock.now() + seconds
        while (remaining := end - self._clock.now()) > 0:
            self._clock.wait(self._inbox, remaining)

    def _handle_outcome(self, result: TaskResult, error: RequestRejectedError | None) -> None:
        outcome = classify_response(result, error)
        if error is not None and outcome is Outcome.RESEND_SMALLER:
            smaller = shrink_result(result, error)
            if smaller != result:
                with self._lock:
                    self._pending[result.attempt_key] = smaller
                return
        if outcome is Outcome.ACCEPTED:
            self._log(f"{result.task_id}: result reported")
        else:
            self._log(f"{result.task_id}: the platform rejected the result of attempt {result.attempt}: {error}")
        self._outbox.remove(result)
        with self._lock:
            del self._pending[result.attempt_key]
        self._on_settled()
