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

from devflow.backoff import pause
from devflow.client import Client, Json
from devflow.clock import Clock
from devflow.command import Command
from devflow.errors import DevFlowError, DroppedError, NotLoggedInError, RefusedError, UnavailableError
from devflow.pace import Pace
from devflow.redact import redacted
from devflow.spool import CHUNK_BYTES, Spool
from devflow.stop import Reason, Stop

_MOST_STEPS = 100
"""Steps that wait to be sent. Beyond that the oldest are left out: some programs tell thousands a second."""
_LATE_SECONDS = 600.0
"""How long after the end the platform still takes a log (docs/protocol.md, "Log")."""
_GONE = frozenset({404, 409})
_TOO_LARGE, _GAP = 413, 416
_OFFSET = re.compile(r"offset: (\d+)")


@dataclass(frozen=True)
class Step:
    """One progress report."""

    step: str
    progress: float
    details: str | None = None
    log: int = 0
    """Bytes of the log that come before it."""
    confirmed: bool = False
    """Somebody waits until it has been answered."""


class Reporter:
    """Tells of one attempt. The functions of its first half are called by the thread that does the work."""

    def __init__(
        self,
        client: Client,
        command: Command,
        spool: Spool,
        stop: Stop,
        pace: Pace,
        *,
        unauthorized: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        """`unauthorized` is called when the platform does not accept the agent's token any more."""
        self._client, self._command, self._spool, self._stop = client, command, spool, stop
        self._pace, self._clock, self._chance, self._unauthorized = pace, clock or Clock(), chance, unauthorized
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: deque[Step] = deque()
        self._told = Step("", 0.0)
        """The last one that was told, sent or not."""
        self._sent = self._told
        """The last one that the platform has; sent again in between, to ask whether to go on."""
        self._confirmations: SimpleQueue[bool] = SimpleQueue()
        self._ends_at: float | None = None
        self._closed = False
        """Nothing is sent any more. Whoever waited by then has been answered."""
        self._flushed = threading.Event()
        self._failures, self._not_before = 0, 0.0
        self._log_at = self._progress_at = self._clock.now()
        self._offset, self._chunk, self._log_over = 0, CHUNK_BYTES, False
        self._thread = threading.Thread(target=self._serve, name=f"report {command.name}", daemon=True)

    def start(self) -> None:
        """Begin to send. Nothing is sent before the first step."""
        self._stop.listen(self._wake)
        self._thread.start()

    def log(self, line: str) -> None:
        """Add a line to the task's log."""
        self._spool.add(line)

    def step(self, step: str, progress: float | None = None, details: str | None = None) -> None:
        """Tell what is being done now (as before when empty), and how far it is (0 to 1; as before when left out)."""
        far = self._told.progress if progress is None else min(1.0, max(0.0, progress))
        told = Step(redacted(step) or self._told.step, far, redacted(details) if details else None, self._spool.size)
        if (told.step, told.progress, told.details) == (self._told.step, self._told.progress, self._told.details):
            return
        self._tell(told)

    def confirm(self, step: str, progress: float) -> None:
        """Tell it, and wait until the platform has answered that the task still is this agent's.

        Raises DroppedError where it is not, or where the work is to stop for another reason.
        """
        self._tell(Step(step, progress, None, self._spool.size, confirmed=True))
        if self._closed or not self._confirmations.get():
            raise DroppedError(self._stop.message or None)

    def end(self) -> None:
        """No more steps. What is left to tell is told before this returns, unless that takes longer than `flush`.

        The rest of the log may come later; a step may not, for the task will have ended by then.
        """
        with self._lock:
            self._ends_at = self._clock.now() + _LATE_SECONDS
        self._wake()
        self._flushed.wait(self._pace.flush)
        with self._lock:
            self._waiting.clear()

    def _tell(self, step: Step) -> None:
        self._told = step
        with self._lock:
            if len(self._waiting) >= _MOST_STEPS:
                self._waiting.popleft()
            if not self._closed:
                self._waiting.append(step)
        self._wake()

    def _wake(self) -> None:
        self._inbox.put(item=True)

    # From here on: the thread that sends.

    def _serve(self) -> None:
        while not self._over():
            try:
                wait = self._round()
            except DevFlowError as error:
                wait = self._failed(error)
            if wait > 0:
                self._clock.wait(self._inbox, wait)
        with self._lock:
            self._closed = True
            for step in self._waiting:
                if step.confirmed:
                    self._confirmations.put(item=False)
        self._flushed.set()
        self._stop.forget(self._wake)
        self._spool.remove()

    def _over(self) -> bool:
        if self._stop.reason in (Reason.DROPPED, Reason.HALTED):
            return True
        if self._ends_at is None:
            return False
        flushed = self._log_over or self._offset >= self._spool.size or not self._sent.step
        return (flushed and not self._waiting) or self._clock.now() >= self._ends_at

    def _round(self) -> float:
        """Send the one thing that is due first. Seconds until there is something to do; 0 when there may be more."""
        now = self._clock.now()
        if now < self._not_before:
            return self._not_before - now
        with self._lock:
            step = self._waiting[0] if self._waiting else None
        if step and step.confirmed and self._stop:
            self._answer(step, confirmed=False)
            return 0.0
        behind = step is not None and self._offset < step.log
        ending = self._ends_at is not None and step is None
        if self._sent.step and (behind or ending or now >= self._log_at):
            self._log_at = now + self._pace.log
            if self._send_log():
                return 0.0
        if step:
            self._send_progress(step)
            self._answer(step, confirmed=not self._stop)
            return 0.0
        if not self._sent.step:
            return self._pace.progress
        if now >= self._progress_at:
            self._send_progress(self._sent)
        return max(0.0, min(self._log_at, self._progress_at) - now)

    def _send_log(self) -> bool:
        """Send the next chunk of the log; whether there was one."""
        data = "" if self._log_over else self._spool.chunk(self._offset, self._chunk)
        if not data:
            return False
        try:
            answer = self._post("logs", {"offset": self._offset, "data": data})
        except RefusedError as error:
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

    def _send_progress(self, step: Step) -> None:
        body: Json = {"status": "in_progress", "step": step.step, "progress": step.progress}
        if step.details:
            body["details"] = step.details
        try:
            answer = self._post("progress", body)
        except RefusedError as error:
            if error.status in _GONE:
                raise
            answer = {}  # a report that cannot be meant is left out; the next one may be better
        self._sent, self._progress_at = step, self._clock.now() + self._pace.progress
        if answer.get("cancelRequested"):
            self._stop.ask(Reason.CANCELLED, "Cancelled")

    def _answer(self, step: Step, *, confirmed: bool) -> None:
        with self._lock:
            if self._waiting and self._waiting[0] is step:
                self._waiting.popleft()
        if step.confirmed:
            self._confirmations.put(confirmed)

    def _post(self, what: str, body: Json) -> Json:
        answer = self._client.send(
            "POST", f"/api/tasks/{self._command.id}/{what}", body | {"attempt": self._command.attempt}
        )
        self._failures = 0
        return answer

    def _failed(self, error: DevFlowError) -> float:
        """What comes of an error; seconds to wait."""
        if isinstance(error, RefusedError):
            self._stop.ask(Reason.DROPPED, str(error))
            return 0.0
        if isinstance(error, NotLoggedInError):
            self._unauthorized()
        self._failures += 1
        after = error.retry_after if isinstance(error, UnavailableError) else None
        self._not_before = self._clock.now() + pause(self._failures, self._chance(), after)
        return 0.0
