"""The agent: polls, beats, runs jobs, and ends as it is told to. One thread; each job has one of its own."""

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from random import random

import urllib3

from devflow import __version__
from devflow.api_client import ApiClient, Json
from devflow.clock import Clock
from devflow.task_assignment import TaskAssignment
from devflow.credentials import Credentials
from devflow.job_pool import JobPool
from devflow.errors import AlreadyRunningError, DevFlowError, NotLoggedInError, RequestRejectedError, UnavailableError
from devflow.private_files import remove_tree
from devflow.agent_state import AgentState
from devflow.job_runner import JobRunner, JobContext
from devflow.outbox import ResultSender, TaskResult
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule
from devflow.cancel_token import CancelReason

_CONFLICT = 409
_RENEWAL_RETRY_SECONDS = 3600.0
_KILL_SECONDS = 3.0
"""For jobs to end after they were killed, before the agent itself ends."""


@dataclass
class WorkerConfig:
    """What its operator has chosen."""

    concurrency: int = 1
    capabilities: tuple[str, ...] = ()
    """Those that it was registered with when empty."""
    intervals: Intervals = field(default_factory=Intervals)


class AgentWorker:
    """One agent, as long as this process lives. Its public functions may be called from any thread."""

    def __init__(
        self,
        home: AgentState,
        credentials: Credentials,
        settings: WorkerConfig,
        make_job_context: "Callable[[AgentWorker], JobContext]",
        say: Callable[[str], None],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        """`equip` makes what jobs work with, of `client`, `courier` and the rest that is here by then."""
        self.state, self.credentials, self.config, self.log = home, credentials, settings, say
        self.clock, self._jitter = clock or Clock(), jitter
        url = credentials.registration.url
        self.client = ApiClient(url, credentials.token, on_response=self._record_response, clock=self.clock)
        self._disconnect_client = ApiClient(url, credentials.token, timeout=urllib3.Timeout(connect=1.0, read=2.0))
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._schedule = PollSchedule(settings.intervals, self.clock.now())
        self._started_at = self._last_response_at = self.clock.now()
        self._jobs = JobPool(on_job_end=self.poll_now)
        self._stopping_now = False
        self._drained_at: float | None = None
        self._renew_at = self._started_at
        self._unavailable_since: float | None = None
        self._fatal_error: DevFlowError | None = None
        self._job_context = make_job_context(self)
        self.result_sender = ResultSender(
            self._job_context.outbox, self.client, say, on_unauthorized=self.handle_unauthorized, on_settled=self.wake, clock=self.clock
        )

    def drain(self) -> None:
        """Finish what runs, take nothing new, and end."""
        self._schedule.draining = True
        self.wake()

    def stop_now(self) -> None:
        """End now: what runs is killed, and nothing reported of it, so that somebody else gets it."""
        self._stopping_now = True
        self._jobs.cancel(CancelReason.AGENT_SHUTDOWN, "the agent ends")
        self.wake()

    def send_result(self, result: TaskResult) -> None:
        """Report how an attempt ended; it is in the outbox."""
        self.result_sender.send(result)

    def poll_now(self) -> None:
        """Poll at once: there is a task."""
        self._schedule.poll_now(self.clock.now())
        self.wake()

    def wake(self) -> None:
        self._inbox.put(item=True)

    def handle_unauthorized(self) -> None:
        """The platform does not accept the token. Unless it was changed meanwhile, that is the end."""
        try:
            if self.credentials.reload():
                self.log("the token was renewed")
                return
            message = "The platform does not accept this agent's token any more. Try: devflow agent register --replace"
            self._fatal_error = NotLoggedInError(message)
        except DevFlowError as error:
            self._fatal_error = error
        self.wake()

    def run(self) -> None:
        """Be the agent until it was told to end. Raises what makes it impossible to go on."""
        with self.state.lock():
            for left in ("work", "logs"):  # of a process that was killed
                remove_tree(self.state.directory / left)
            if waiting := self.result_sender.pending_attempts():
                self.log(f"{len(waiting)} result(s) of an earlier run wait to be reported")
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
        silent = self._cancel_jobs_when_offline(now)
        free = self.config.concurrency - len(self._jobs)
        act, wait = self._schedule.next_action(now, running=len(self._held_attempts()), free=free)
        if act is Action.WAIT:
            due = [wait, *([silent] if len(self._jobs) else [])]
            if self._drained_at is not None:
                due.append(self._drained_at + self.config.intervals.shutdown - now)
            self.clock.wait(self._inbox, max(0.0, min(due)))
            return
        try:
            self._renew_token_when_due(now)
            if act is Action.HEARTBEAT:
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
            answer = self.client.send("POST", f"{self._path}/heartbeat", body)
        except RequestRejectedError as error:
            if error.status == _CONFLICT:
                raise AlreadyRunningError(f"{self.state.name} is already running elsewhere: {error.message}") from None
            raise
        if self._schedule.last_heartbeat_at is None:
            self.log(f"{self.state.name} is {answer['status']}")
        self._schedule.record_heartbeat(self.clock.now())
        for task in answer["cancel"]:
            self._jobs.cancel(CancelReason.USER_REQUEST, "Cancelled", str(task))

    def _poll(self, free: int) -> None:
        answer = self.client.send("GET", f"{self._path}/commands?limit={free}")
        self._schedule.record_poll(self.clock.now(), float(answer["nextPollInterval"]) / 1000, self._jitter())
        known = self._held_attempts()
        for given in answer["commands"]:
            try:
                command = TaskAssignment.from_json(given)
            except (KeyError, TypeError, ValueError) as error:
                self.log(f"a command that cannot be read was left out: {error!r}")
                continue
            if command.attempt_key not in known:  # a claim comes again until its first progress is in
                self._start_job(command)

    def _start_job(self, command: TaskAssignment) -> None:
        self.log(f"{command.task_id} (attempt {command.attempt}): {command.intent} in {command.repo}")
        self._jobs.start(JobRunner(command, self._job_context))

    def _cancel_jobs_when_offline(self, now: float) -> float:
        """Stop everything when the platform must take this agent for lost by now; seconds until then."""
        left = self._last_response_at + self.config.intervals.offline_limit - now
        if left <= 0 and len(self._jobs):
            self._jobs.cancel(
                CancelReason.TASK_LOST, "The platform was out of reach for so long that others have the task by now."
            )
            self._schedule.require_heartbeats()
            return self.config.intervals.heartbeat
        return max(0.0, left)

    def _renew_token_when_due(self, now: float) -> None:
        if now >= self._renew_at and self.credentials.is_older_than(self.config.intervals.token_renewal):
            self._renew_at = now + min(_RENEWAL_RETRY_SECONDS, self.config.intervals.token_renewal)
            self.credentials.renew(self.client)
            self.log("renewed the token")

    def _on_unavailable(self, now: float, error: UnavailableError) -> None:
        pause = self._schedule.record_failure(self.clock.now(), self._jitter(), error.retry_after)
        if self._unavailable_since is None:
            self._unavailable_since = now
            self.log(f"{error}; trying again, for the first time in {pause:.1f} s")

    def _on_available(self, now: float) -> None:
        if self._unavailable_since is not None:
            self.log(f"the platform is back, after {now - self._unavailable_since:.0f} s")
            self._unavailable_since = None

    def _disconnect(self) -> None:
        if self._fatal_error is not None:
            self._jobs.cancel(CancelReason.AGENT_SHUTDOWN, str(self._fatal_error))
        self._jobs.join(_KILL_SECONDS)
        if waiting := self.result_sender.pending_attempts():
            self.log(f"{len(waiting)} result(s) are kept in {self.state.directory / 'outbox'} for the next start")
        if isinstance(self._fatal_error, NotLoggedInError | AlreadyRunningError):
            return
        body = self._build_heartbeat() | {"status": "disconnected", "instanceId": self.state.load_instance_id()}
        with suppress(DevFlowError):  # it will find out by itself
            self._disconnect_client.send("POST", f"{self._path}/heartbeat", body)

    def _build_heartbeat(self) -> Json:
        held = sorted({task for task, _ in self._held_attempts()})
        used = resource.getrusage(resource.RUSAGE_SELF)
        uptime = self.clock.now() - self._started_at
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        return {
            "taskIds": held,
            "taskCount": len(held),
            "uptime": int(uptime),
            "memoryUsage": used.ru_maxrss * unit // 1_000_000,
            "cpuUsage": round(100 * (used.ru_utime + used.ru_stime) / max(1.0, uptime), 1),
        }

    def _held_attempts(self) -> set[tuple[str, int]]:
        """The attempts that this agent stands for: those that it runs, and those whose results wait."""
        return self._jobs.running_attempts() | set(self.result_sender.pending_attempts())

    def _record_response(self, at: float) -> None:
        self._last_response_at = max(self._last_response_at, at)

    @property
    def _path(self) -> str:
        return f"/api/agents/{self.credentials.registration.agent_id}"
