"""Reports the progress and the log of a running task to the platform, in order, on its own thread, with retries.

Each response also says whether the work may continue. This is how the agent learns that a task was cancelled, or that
it belongs to another agent now.
"""

import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from random import random

from devflow.api_client import ApiClient, Json
from devflow.backoff import compute_retry_delay
from devflow.cancel_token import CancelReason, CancelToken
from devflow.clock import Clock
from devflow.errors import DevFlowError, JobCancelledError, NotLoggedInError, RequestRejectedError, UnavailableError
from devflow.intervals import Intervals
from devflow.log_file import CHUNK_BYTES, LogFile
from devflow.redaction import redact
from devflow.task_assignment import TaskAssignment

_MAX_QUEUE = 100
"""Updates that wait to be sent. Beyond that the oldest ones are dropped: some programs send thousands a second."""
_LATE_SECONDS = 600.0
"""How long after the end of a task the platform accepts its log (docs/protocol.md, "Log")."""
_TASK_LOST = frozenset({404, 409})
_TOO_LARGE, _GAP = 413, 416
_OFFSET = re.compile(r"offset: (\d+)")


@dataclass(frozen=True)
class ProgressUpdate:
    """One progress report."""

    step: str
    progress: float
    details: str | None = None
    log_bytes: int = 0
    """The size of the log at the time of the update. This much of the log is sent first."""
    confirmed: bool = False
    """The job waits for the response."""


class ProgressReporter:
    """Reports one attempt. The thread that does the work calls the public methods."""

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
        """`on_unauthorized` is called when the platform does not accept the agent's token any more."""
        self._client, self._task, self._log_file, self._cancel_token = client, task, log_file, cancel_token
        self._intervals, self._clock, self._jitter = intervals, clock or Clock(), jitter
        self._on_unauthorized = on_unauthorized
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._queue: deque[ProgressUpdate] = deque()
        self._last_queued = ProgressUpdate("", 0.0)
        self._last_sent = self._last_queued
        """The last update that the platform has. It is sent again at intervals, to ask whether to continue."""
        self._confirmations: SimpleQueue[bool] = SimpleQueue()
        self._ends_at: float | None = None
        self._closed = False
        """Nothing is sent any more, and no job waits for a response."""
        self._flushed = threading.Event()
        self._failures, self._not_before = 0, 0.0
        self._log_at = self._progress_at = self._clock.now()
        self._offset, self._chunk_bytes, self._log_closed = 0, CHUNK_BYTES, False
        self._thread = threading.Thread(target=self._run, name=f"report {task.slug}", daemon=True)

    def start(self) -> None:
        """Start the thread. Nothing is sent before the first progress update."""
        self._cancel_token.add_listener(self._wake)
        self._thread.start()

    @property
    def log_bytes(self) -> int:
        """The size of the task's log so far, in bytes."""
        return self._log_file.size

    def log(self, line: str) -> None:
        """Add a line to the task's log."""
        self._log_file.add_line(line)

    def report(self, step: str, progress: float | None = None, details: str | None = None) -> None:
        """Queue a progress update. An empty step or a missing progress (0 to 1) keeps the previous value."""
        progress = self._last_queued.progress if progress is None else min(1.0, max(0.0, progress))
        update = ProgressUpdate(
            redact(step) or self._last_queued.step,
            progress,
            redact(details) if details else None,
            self._log_file.size,
        )
        last = self._last_queued
        if (update.step, update.progress, update.details) == (last.step, last.progress, last.details):
            return
        self._enqueue(update)

    def report_and_confirm(self, step: str, progress: float) -> None:
        """Queue a progress update and wait until the platform confirms that the task still belongs to this agent.

        Raises JobCancelledError if it does not, or if the job is cancelled for another reason.
        """
        self._enqueue(ProgressUpdate(step, progress, None, self._log_file.size, confirmed=True))
        if self._closed or not self._confirmations.get():
            raise JobCancelledError(self._cancel_token.message or None)

    def finish(self) -> None:
        """Send the queued updates and the rest of the log. Returns after at most the `flush` interval.

        The rest of the log may be sent later. A progress update may not, because the task will have ended by then.
        """
        with self._lock:
            self._ends_at = self._clock.now() + _LATE_SECONDS
        self._wake()
        self._flushed.wait(self._intervals.flush)
        with self._lock:
            self._queue.clear()

    def _enqueue(self, update: ProgressUpdate) -> None:
        self._last_queued = update
        with self._lock:
            if len(self._queue) >= _MAX_QUEUE:
                self._queue.popleft()
            if not self._closed:
                self._queue.append(update)
        self._wake()

    def _wake(self) -> None:
        self._inbox.put(item=True)

    # The methods below run on the thread that sends.

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
            for update in self._queue:
                if update.confirmed:
                    self._confirmations.put(item=False)
        self._flushed.set()
        self._cancel_token.remove_listener(self._wake)
        self._log_file.remove()

    def _is_finished(self) -> bool:
        if self._cancel_token.reason in (CancelReason.TASK_LOST, CancelReason.AGENT_SHUTDOWN):
            return True
        if self._ends_at is None:
            return False
        flushed = self._log_closed or self._offset >= self._log_file.size or not self._last_sent.step
        return (flushed and not self._queue) or self._clock.now() >= self._ends_at

    def _send_next(self) -> float:
        """Send the report that is due first. Returns the seconds until the next one, or 0 if more may be due now."""
        now = self._clock.now()
        if now < self._not_before:
            return self._not_before - now
        with self._lock:
            update = self._queue[0] if self._queue else None
        if update and update.confirmed and self._cancel_token:
            self._resolve(update, confirmed=False)
            return 0.0
        log_behind = update is not None and self._offset < update.log_bytes
        ending = self._ends_at is not None and update is None
        if self._last_sent.step and (log_behind or ending or now >= self._log_at):
            self._log_at = now + self._intervals.log
            if self._send_log():
                return 0.0
        if update:
            self._send_progress(update)
            self._resolve(update, confirmed=not self._cancel_token)
            return 0.0
        if not self._last_sent.step:
            return self._intervals.progress
        if now >= self._progress_at:
            self._send_progress(self._last_sent)
        return max(0.0, min(self._log_at, self._progress_at) - now)

    def _send_log(self) -> bool:
        """Send the next chunk of the log. Returns whether there was one."""
        data = "" if self._log_closed else self._log_file.read_chunk(self._offset, self._chunk_bytes)
        if not data:
            return False
        try:
            response = self._post("logs", {"offset": self._offset, "data": data})
        except RequestRejectedError as error:
            if error.status == _GAP and (match := _OFFSET.search(" ".join(error.details))):
                self._offset = int(match[1])
            elif error.status == _TOO_LARGE and self._chunk_bytes > 1:
                self._chunk_bytes //= 2
            elif error.status in _TASK_LOST:
                raise
            else:
                self._log_closed = True  # a rejected log must not keep the task from ending
            return True
        self._offset, self._log_closed = int(response["nextOffset"]), bool(response["truncated"])
        return True

    def _send_progress(self, update: ProgressUpdate) -> None:
        body: Json = {"status": "in_progress", "step": update.step, "progress": update.progress}
        if update.details:
            body["details"] = update.details
        try:
            response = self._post("progress", body)
        except RequestRejectedError as error:
            if error.status in _TASK_LOST:
                raise
            response = {}  # skip an update that is not valid; the next one may be
        self._last_sent, self._progress_at = update, self._clock.now() + self._intervals.progress
        if response.get("cancelRequested"):
            self._cancel_token.cancel(CancelReason.USER_REQUEST, "Cancelled")

    def _resolve(self, update: ProgressUpdate, *, confirmed: bool) -> None:
        """Remove an update from the queue, and wake the job that waits for its confirmation."""
        with self._lock:
            if self._queue and self._queue[0] is update:
                self._queue.popleft()
        if update.confirmed:
            self._confirmations.put(confirmed)

    def _post(self, report: str, body: Json) -> Json:
        response = self._client.send(
            "POST", f"/api/tasks/{self._task.task_id}/{report}", body | {"attempt": self._task.attempt}
        )
        self._failures = 0
        return response

    def _handle_error(self, error: DevFlowError) -> float:
        """Cancel the job or schedule a retry. Returns the seconds to wait."""
        if isinstance(error, RequestRejectedError):
            self._cancel_token.cancel(CancelReason.TASK_LOST, str(error))
            return 0.0
        if isinstance(error, NotLoggedInError):
            self._on_unauthorized()
        self._failures += 1
        retry_after = error.retry_after if isinstance(error, UnavailableError) else None
        self._not_before = self._clock.now() + compute_retry_delay(self._failures, self._jitter(), retry_after)
        return 0.0
