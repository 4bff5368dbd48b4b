"""What a running task tells the platform: steps and log in order, on a thread of its own, and patiently.

Each answer also says whether the work is to go on: this is where a cancelled task, and one that somebody else has by
now, is found out.
"""

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from random import random

from devflow.backoff import compute_retry_delay
from devflow.api_client import ApiClient, Json
from devflow.clock import Clock
from devflow.task_assignment import TaskAssignment
from devflow.errors import DevFlowError, JobCancelledError, NotLoggedInError, RequestRejectedError, UnavailableError
from devflow.intervals import Intervals
from devflow.redaction import redact
from devflow.log_file import CHUNK_BYTES, LogFile
from devflow.cancel_token import CancelReason, CancelToken

_MAX_QUEUE = 100
"""Steps that wait to be sent. Beyond that the oldest are left out: some programs tell thousands a second."""
_LATE_SECONDS = 600.0
"""How long after the end the platform still takes a log (docs/protocol.md, "Log")."""
_GONE = frozenset({404, 409})
_TOO_LARGE, _GAP = 413, 416
_OFFSET = re.compile(r"offset: (\d+)")


@dataclass(frozen=True)
class ProgressUpdate:
    """One progress report."""

    step: str
    progress: float
    details: str | None = None
    log_bytes: int = 0
    """Bytes of the log that come before it."""
    confirmed: bool = False
    """Somebody waits until it has been answered."""


class ProgressReporter:
    """Tells of one attempt. The functions of its first half are called by the thread that does the work."""

    def __init__(
        self,
        client: ApiClient,
        task: TaskAssignment,
        log_file: LogFile,
        cancel_token: CancelToken,
        intervals: Intervals,
        *,
        on_unauthorized: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        """`unauthorized` is called when the platform does not accept the agent's token any more."""
        self._client, self._task, self._log_file, self._cancel_token = client, task, log_file, cancel_token
        self._intervals, self._clock, self._jitter, self._on_unauthorized = intervals, clock or Clock(), jitter, on_unauthorized
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._queue: deque[ProgressUpdate] = deque()
        self._last_queued = ProgressUpdate("", 0.0)
        """The last one that was told, sent or not."""
        self._last_sent = self._last_queued
        """The last one that the platform has; sent again in between, to ask whether to go on."""
        self._confirmations: SimpleQueue[bool] = SimpleQueue()
        self._ends_at: float | None = None
        self._closed = False
        """Nothing is sent any more. Whoever waited by then has been answered."""
        self._flushed = threading.Event()
        self._failures, self._not_before = 0, 0.0
        self._log_at = self._progress_at = self._clock.now()
        self._offset, self._chunk, self._log_over = 0, CHUNK_BYTES, False
        self._thread = threading.Thread(target=self._run, name=f"report {task.slug}", daemon=True)

    def start(self) -> None:
        """Begin to send. Nothing is sent before the first step."""
        self._cancel_token.add_listener(self._wake)
        self._thread.start()

    def log(self, line: str) -> None:
        """Add a line to the task's log."""
        self._log_file.add_line(line)

    def report(self, step: str, progress: float | None = None, details: str | None = None) -> None:
        """Tell what is being done now (as before when empty), and how far it is (0 to 1; as before when left out)."""
        far = self._last_queued.progress if progress is None else min(1.0, max(0.0, progress))
        told = ProgressUpdate(redact(step) or self._last_queued.step, far, redact(details) if details else None, self._log_file.size)
        if (told.step, told.progress, told.details) == (self._last_queued.step, self._last_queued.progress, self._last_queued.details):
            return
        self._enqueue(told)

    def report_and_confirm(self, step: str, progress: float) -> None:
        """Tell it, and wait until the platform has answered that the task still is this agent's.

        Raises DroppedError where it is not, or where the work is to stop for another reason.
        """
        self._enqueue(ProgressUpdate(step, progress, None, self._log_file.size, confirmed=True))
        if self._closed or not self._confirmations.get():
            raise JobCancelledError(self._cancel_token.message or None)

    def finish(self) -> None:
        """No more steps. What is left to tell is told before this returns, unless that takes longer than `flush`.

        The rest of the log may come later; a step may not, for the task will have ended by then.
        """
        with self._lock:
            self._ends_at = self._clock.now() + _LATE_SECONDS
        self._wake()
        self._flushed.wait(self._intervals.flush)
        with self._lock:
            self._queue.clear()

    def _enqueue(self, step: ProgressUpdate) -> None:
        self._last_queued = step
        with self._lock:
            if len(self._queue) >= _MAX_QUEUE:
                self._queue.popleft()
            if not self._closed:
                self._queue.append(step)
        self._wake()

    def _wake(self) -> None:
        self._inbox.put(item=True)

    # From here on: the thread that sends.

    def _run(self) -> None:
        while not self._is_finished():
            try:
                wait = self._send_next()
            except DevFlowError as error:
                wait = self._handle_error(error)
            if wait > 0:
                self._clock.wait(self._inbox, wait)
        with self._lock:
            self._closed = True
            for step in self._queue:
                if step.confirmed:
                    self._confirmations.put(item=False)
        self._flushed.set()
        self._cancel_token.remove_listener(self._wake)
        self._log_file.remove()

    def _is_finished(self) -> bool:
        if self._cancel_token.reason in (CancelReason.TASK_LOST, CancelReason.AGENT_SHUTDOWN):
            return True
        if self._ends_at is None:
            return False
        flushed = self._log_over or self._offset >= self._log_file.size or not self._last_sent.step
        return (flushed and not self._queue) or self._clock.now() >= self._ends_at

    def _send_next(self) -> float:
        """Send the one thing that is due first. Seconds until there is something to do; 0 when there may be more."""
        now = self._clock.now()
        if now < self._not_before:
            return self._not_before - now
        with self._lock:
            step = self._queue[0] if self._queue else None
        if step and step.confirmed and self._cancel_token:
            self._resolve(step, confirmed=False)
            return 0.0
        behind = step is not None and self._offset < step.log_bytes
        ending = self._ends_at is not None and step is None
        if self._last_sent.step and (behind or ending or now >= self._log_at):
            self._log_at = now + self._intervals.log
            if self._send_log():
                return 0.0
        if step:
            self._send_progress(step)
            self._resolve(step, confirmed=not self._cancel_token)
            return 0.0
        if not self._last_sent.step:
            return self._intervals.progress
        if now >= self._progress_at:
            self._send_progress(self._last_sent)
        return max(0.0, min(self._log_at, self._progress_at) - now)

    def _send_log(self) -> bool:
        """Send the next chunk of the log; whether there was one."""
        data = "" if self._log_over else self._log_file.read_chunk(self._offset, self._chunk)
        if not data:
            return False
        try:
            answer = self._post("logs", {"offset": self._offset, "data": data})
        except RequestRejectedError as error:
            if error.status == _GAP and (found := _OFFSET.search(" ".join(error.details))):
                self._offset = int(found[1])
            elif error.status == _TOO_LARGE and self._chunk > 1:
                self._chunk //= 2
            elif error.status in _GONE:
                raise
            else:
                self._log_over = True  # a log that is not taken must not keep the task from its end
            return True
        self._offset, self._log_over = int(answer["nextOffset"]), bool(answer["truncated"])
        return True

    def _send_progress(self, step: ProgressUpdate) -> None:
        body: Json = {"status": "in_progress", "step": step.step, "progress": step.progress}
        if step.details:
            body["details"] = step.details
        try:
            answer = self._post("progress", body)
        except RequestRejectedError as error:
            if error.status in _GONE:
                raise
            answer = {}  # a report that cannot be meant is left out; the next one may be better
        self._last_sent, self._progress_at = step, self._clock.now() + self._intervals.progress
        if answer.get("cancelRequested"):
            self._cancel_token.cancel(CancelReason.USER_REQUEST, "Cancelled")

    def _resolve(self, step: ProgressUpdate, *, confirmed: bool) -> None:
        with self._lock:
            if self._queue and self._queue[0] is step:
                self._queue.popleft()
        if step.confirmed:
            self._confirmations.put(confirmed)

    def _post(self, what: str, body: Json) -> Json:
        answer = self._client.send(
            "POST", f"/api/tasks/{self._task.task_id}/{what}", body | {"attempt": self._task.attempt}
        )
        self._failures = 0
        return answer

    def _handle_error(self, error: DevFlowError) -> float:
        """What comes of an error; seconds to wait."""
        if isinstance(error, RequestRejectedError):
            self._cancel_token.cancel(CancelReason.TASK_LOST, str(error))
            return 0.0
        if isinstance(error, NotLoggedInError):
            self._on_unauthorized()
        self._failures += 1
        after = error.retry_after if isinstance(error, UnavailableError) else None
        self._not_before = self._clock.now() + compute_retry_delay(self._failures, self._jitter(), after)
        return 0.0
