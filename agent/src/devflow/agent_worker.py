"""Runs one agent: polls for tasks, sends heartbeats, starts jobs and shuts down.

The worker runs on one thread. Each job has its own thread.
"""

import resource
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from random import random

import urllib3

from devflow import __version__
from devflow.agent_state import AgentState
from devflow.api_client import ApiClient, Json
from devflow.cancel_token import CancelReason
from devflow.clock import Clock
from devflow.credentials import Credentials
from devflow.errors import (
    AlreadyRunningError,
    DevFlowError,
    NotLoggedInError,
    RequestRejectedError,
    UnavailableError,
)
from devflow.intervals import Intervals
from devflow.job_pool import JobPool
from devflow.job_runner import JobContext, JobRunner
from devflow.outbox import TaskResult
from devflow.poll_schedule import Action, PollSchedule
from devflow.private_files import remove_tree
from devflow.result_sender import ResultSender
from devflow.task_assignment import TaskAssignment

_CONFLICT = 409
_RENEWAL_RETRY_SECONDS = 3600.0
_INSTANCE_SECONDS = 160.0
"""How long a starting agent waits for another instance to end. It may have been killed, and is live for 150 s."""
_INSTANCE_RETRY_SECONDS = 10.0
_KILL_SECONDS = 3.0
"""How long the worker waits for killed jobs to end before it ends too."""


@dataclass
class WorkerConfig:
    """The operator's choices."""

    concurrency: int = 1
    capabilities: tuple[str, ...] = ()
    """The intents that the agent accepts. If empty, the ones that it was registered with."""
    intervals: Intervals = field(default_factory=Intervals)


class AgentWorker:
    """One run of an agent. Any thread may call the public methods."""

    def __init__(
        self,
        state: AgentState,
        credentials: Credentials,
        config: WorkerConfig,
        make_job_context: "Callable[[AgentWorker], JobContext]",
        log: Callable[[str], None],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        """`make_job_context` is called once, with this worker, whose `client`, `clock` and `log` are set by then."""
        self.state, self.credentials, self.config, self.log = state, credentials, config, log
        self.clock, self._jitter = clock or Clock(), jitter
        url = credentials.registration.url
        self.client = ApiClient(url, credentials.token, on_response=self._record_response, clock=self.clock)
        self._disconnect_client = ApiClient(url, credentials.token, timeout=urllib3.Timeout(connect=1.0, read=2.0))
        self._process_id = uuid.uuid4().hex
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._schedule = PollSchedule(config.intervals, self.clock.now())
        self._started_at = self._last_response_at = self.clock.now()
        self._jobs = JobPool(on_job_end=self.poll_now)
        self._stopping_now = False
        self._drained_at: float | None = None
        self._renew_at = self._started_at
        self._unavailable_since: float | None = None
        self._last_poll_repeated = False
        self._first_heartbeat = threading.Event()
        self._fatal_error: DevFlowError | None = None
        self._job_context = make_job_context(self)
        self.result_sender = ResultSender(
            self._job_context.outbox,
            self.client,
            log,
            on_unauthorized=self.handle_unauthorized,
            on_settled=self.wake,
            clock=self.clock,
        )

    def drain(self) -> None:
        """Stop polling, finish the running tasks while sending heartbeats, then disconnect."""
        self._schedule.draining = True
        self.wake()

    def stop_now(self) -> None:
        """Kill the running programs, report nothing about their tasks, and disconnect. Other agents get the tasks."""
        self._stopping_now = True
        self._jobs.cancel(CancelReason.AGENT_SHUTDOWN, "the agent is shutting down")
        self.wake()

    def send_result(self, result: TaskResult) -> None:
        """Send the result of an attempt. The caller has saved it in the outbox."""
        self.result_sender.send(result)

    def poll_now(self) -> None:
        """Poll at once, because a job has ended or a task is waiting."""
        self._schedule.poll_now(self.clock.now())
        self.wake()

    def wake(self) -> None:
        self._inbox.put(item=True)

    def wait_for_first_heartbeat(self, seconds: float) -> bool:
        """Wait until the platform knows what this process accepts. Returns False after `seconds`."""
        return self._first_heartbeat.wait(seconds)

    def handle_unauthorized(self) -> None:
        """Handle a rejected token. The worker continues only if another process has renewed the token."""
        try:
            if self.credentials.reload():
                self.log("the token was renewed by another process")
                return
            if self.credentials.fall_back():
                self._renew_at = self.clock.now()
                self.log("the platform rejects the renewed token, which was not used in time; using the previous one")
                return
            message = "The platform does not accept this agent's token any more. Try: devflow agent register --replace"
            self._fatal_error = NotLoggedInError(message)
        except DevFlowError as error:
            self._fatal_error = error
        self.wake()

    def run(self) -> None:
        """Run the agent until `drain` or `stop_now` ends it. Raises the error that keeps the agent from continuing."""
        with self.state.lock():
            for leftover in ("work", "logs"):  # a killed process may have left them
                remove_tree(self.state.directory / leftover)
            if pending := self.result_sender.pending_attempts():
                self.log(f"sending {len(pending)} unsent result(s) of an earlier run")
            self.result_sender.start()
            try:
                while self._fatal_error is None and not self._is_finished():
                    self._step()
            except DevFlowError as error:
                self._fatal_error = error
            self._disconnect()
        if self._fatal_error is not None:
            raise self._fatal_error

    def _is_finished(self) -> bool:
        if self._stopping_now:
            return True
        if not self._schedule.draining or self._jobs:
            return False
        now = self.clock.now()
        self._drained_at = self._drained_at or now
        return not self.result_sender.pending_attempts() or now >= self._drained_at + self.config.intervals.shutdown

    def _step(self) -> None:
        now = self.clock.now()
        until_offline = self._cancel_jobs_when_offline(now)
        free = self.config.concurrency - len(self._jobs)
        action, wait = self._schedule.next_action(now, running=len(self._held_attempts()), free=free)
        if action is Action.WAIT:
            due = [wait, *([until_offline] if len(self._jobs) else [])]
            if self._drained_at is not None:
                due.append(self._drained_at + self.config.intervals.shutdown - now)
            self.clock.wait(self._inbox, max(0.0, min(due)))
            return
        try:
            self._renew_token_when_due(now)
            if action is Action.HEARTBEAT:
                self._send_heartbeat("draining" if self._schedule.draining else "busy" if free <= 0 else "ready")
            else:
                self._poll(free)
        except UnavailableError as error:
            self._on_unavailable(now, error)
        except NotLoggedInError:
            self.handle_unauthorized()
        else:
            self._on_available(now)

    def _send_heartbeat(self, status: str) -> None:
        body = self._build_heartbeat() | {"status": status, "instanceId": self.state.load_instance_id()}
        if self._schedule.last_heartbeat_at is None:
            body |= {"version": __version__, "concurrency": self.config.concurrency}
            body |= {"capabilities": list(self.config.capabilities)} if self.config.capabilities else {}
        try:
            response = self.client.send("POST", f"{self._path}/heartbeat", body)
        except RequestRejectedError as error:
            if error.status != _CONFLICT:
                raise
            message = f"{self.state.name} is already running elsewhere: {error.message}"
            if self._schedule.last_heartbeat_at is None and self.clock.now() < self._started_at + _INSTANCE_SECONDS:
                raise UnavailableError(message, _INSTANCE_RETRY_SECONDS) from None
            raise AlreadyRunningError(message) from None
        if self._schedule.last_heartbeat_at is None:
            self.log(f"{self.state.name} is {response['status']}")
        self._schedule.record_heartbeat(self.clock.now())
        self._first_heartbeat.set()
        for task_id in response["cancel"]:
            self._jobs.cancel(CancelReason.USER_REQUEST, "Cancelled", str(task_id))

    def _poll(self, free: int) -> None:
        response = self.client.send("GET", f"{self._path}/commands?limit={free}")
        interval = float(response["nextPollInterval"]) / 1000
        self._schedule.record_poll(self.clock.now(), interval, self._jitter())
        held, running = self._held_attempts(), self._jobs.running_attempts()
        repeated = False
        for command in response["commands"]:
            try:
                task = TaskAssignment.from_json(command)
            except (KeyError, TypeError, ValueError) as error:
                self.log(f"ignored a task that is not valid: {error!r}")
                continue
            if task.attempt_key not in held:  # a poll returns a claimed task until its first progress report
                self._start_job(task)
            repeated = repeated or task.attempt_key in running
        # A task whose first progress report was under way took the place of another task. Poll again, but only once: a
        # report may not get through for longer.
        if repeated and not self._last_poll_repeated:
            self._schedule.poll_soon(self.clock.now())
        self._last_poll_repeated = repeated and not self._last_poll_repeated

    def _start_job(self, task: TaskAssignment) -> None:
        self.log(f"{task.task_id} (attempt {task.attempt}): {task.intent} in {task.repo}")
        self._jobs.start(JobRunner(task, self._job_context))

    def _cancel_jobs_when_offline(self, now: float) -> float:
        """Cancel all jobs once the platform must consider this agent lost. Returns the seconds until then."""
        remaining = self._last_response_at + self.config.intervals.offline_limit - now
        if remaining <= 0 and len(self._jobs):
            self._jobs.cancel(
                CancelReason.TASK_LOST,
                "The platform was unavailable for so long that it has given the task to another agent.",
            )
            self._schedule.require_heartbeats()
            return self.config.intervals.heartbeat
        return max(0.0, remaining)

    def _renew_token_when_due(self, now: float) -> None:
        if now >= self._renew_at and self.credentials.is_older_than(self.config.intervals.token_renewal):
            self._renew_at = now + min(_RENEWAL_RETRY_SECONDS, self.config.intervals.token_renewal)
            try:
                self.credentials.renew(self.client)
            except RequestRejectedError as error:
                self.log(f"the token cannot be renewed now: {error}")
            else:
                self.log("renewed the token")

    def _on_unavailable(self, now: float, error: UnavailableError) -> None:
        delay = self._schedule.record_failure(self.clock.now(), self._jitter(), error.retry_after)
        if self._unavailable_since is None:
            self._unavailable_since = now
            self.log(f"{error}; retrying, first in {delay:.1f} s")

    def _on_available(self, now: float) -> None:
        self.credentials.confirm()
        if self._unavailable_since is not None:
            self.log(f"the platform is available again, after {now - self._unavailable_since:.0f} s")
            self._unavailable_since = None

    def _disconnect(self) -> None:
        if self._fatal_error is not None:
            self._jobs.cancel(CancelReason.AGENT_SHUTDOWN, str(self._fatal_error))
        self._jobs.join(_KILL_SECONDS)
        if pending := self.result_sender.pending_attempts():
            directory = self.state.directory / "outbox"
            self.log(f"{len(pending)} unsent result(s) are kept in {directory} for the next start")
        if isinstance(self._fatal_error, NotLoggedInError | AlreadyRunningError):
            return
        body = self._build_heartbeat() | {"status": "disconnected", "instanceId": self.state.load_instance_id()}
        with suppress(DevFlowError):  # without this heartbeat, the platform finds out after a timeout
            self._disconnect_client.send("POST", f"{self._path}/heartbeat", body)

    def _build_heartbeat(self) -> Json:
        """Return the fields of a heartbeat that describe the tasks and this process. `memoryUsage` is in MB."""
        task_ids = sorted({task_id for task_id, _ in self._held_attempts()})
        usage = resource.getrusage(resource.RUSAGE_SELF)
        uptime = self.clock.now() - self._started_at
        maxrss_unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
        return {
            "taskIds": task_ids,
            "processId": self._process_id,
            "taskCount": len(task_ids),
            "uptime": int(uptime),
            "memoryUsage": usage.ru_maxrss * maxrss_unit // 1_000_000,
            "cpuUsage": round(100 * (usage.ru_utime + usage.ru_stime) / max(1.0, uptime), 1),
        }

    def _held_attempts(self) -> set[tuple[str, int]]:
        """Return the attempts that this agent reports as its own: running ones, and those with unsent results."""
        return self._jobs.running_attempts() | set(self.result_sender.pending_attempts())

    def _record_response(self, sent_at: float) -> None:
        self._last_response_at = max(self._last_response_at, sent_at)

    @property
    def _path(self) -> str:
        return f"/api/agents/{self.credentials.registration.agent_id}"
