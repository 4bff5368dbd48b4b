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
from devflow.client import Client, Json
from devflow.clock import Clock
from devflow.command import Command
from devflow.credentials import Credentials
from devflow.crew import Crew
from devflow.errors import AlreadyRunningError, DevFlowError, NotLoggedInError, RefusedError, UnavailableError
from devflow.files import remove_tree
from devflow.home import Home
from devflow.job import Job, Means
from devflow.outbox import Courier, Result
from devflow.pace import Pace
from devflow.pulse import Act, Pulse
from devflow.stop import Reason

_CONFLICT = 409
_RENEW_AGAIN_SECONDS = 3600.0
_HALT_SECONDS = 3.0
"""For jobs to end after they were killed, before the agent itself ends."""


@dataclass
class Settings:
    """What its operator has chosen."""

    concurrency: int = 1
    capabilities: tuple[str, ...] = ()
    """Those that it was registered with when empty."""
    pace: Pace = field(default_factory=Pace)


class Loop:
    """One agent, as long as this process lives. Its public functions may be called from any thread."""

    def __init__(
        self,
        home: Home,
        credentials: Credentials,
        settings: Settings,
        equip: "Callable[[Loop], Means]",
        say: Callable[[str], None],
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        """`equip` makes what jobs work with, of `client`, `courier` and the rest that is here by then."""
        self.home, self.credentials, self.settings, self.say = home, credentials, settings, say
        self.clock, self._chance = clock or Clock(), chance
        url = credentials.registration.url
        self.client = Client(url, credentials.token, heard=self._heard, clock=self.clock)
        self._farewell = Client(url, credentials.token, timeout=urllib3.Timeout(connect=1.0, read=2.0))
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._pulse = Pulse(settings.pace, self.clock.now())
        self._started = self._last_heard = self.clock.now()
        self._crew = Crew(ended=self.hurry)
        self._halting = False
        self._drained_at: float | None = None
        self._renew_at = self._started
        self._away_since: float | None = None
        self._fatal: DevFlowError | None = None
        self._means = equip(self)
        self.courier = Courier(
            self._means.outbox, self.client, say, unauthorized=self.unauthorized, settled=self.wake, clock=self.clock
        )

    def drain(self) -> None:
        """Finish what runs, take nothing new, and end."""
        self._pulse.draining = True
        self.wake()

    def halt(self) -> None:
        """End now: what runs is killed, and nothing reported of it, so that somebody else gets it."""
        self._halting = True
        self._crew.stop(Reason.HALTED, "the agent ends")
        self.wake()

    def deliver(self, result: Result) -> None:
        """Report how an attempt ended; it is in the outbox."""
        self.courier.deliver(result)

    def hurry(self) -> None:
        """Poll at once: there is a task."""
        self._pulse.hurry(self.clock.now())
        self.wake()

    def wake(self) -> None:
        self._inbox.put(item=True)

    def unauthorized(self) -> None:
        """The platform does not accept the token. Unless it was changed meanwhile, that is the end."""
        try:
            if self.credentials.reload():
                self.say("the token was renewed")
                return
            message = "The platform does not accept this agent's token any more. Try: devflow agent register --replace"
            self._fatal = NotLoggedInError(message)
        except DevFlowError as error:
            self._fatal = error
        self.wake()

    def run(self) -> None:
        """Be the agent until it was told to end. Raises what makes it impossible to go on."""
        with self.home.lock():
            for left in ("work", "logs"):  # of a process that was killed
                remove_tree(self.home.directory / left)
            if waiting := self.courier.waiting():
                self.say(f"{len(waiting)} result(s) of an earlier run wait to be reported")
            self.courier.start()
            try:
                while self._fatal is None and not self._over():
                    self._step()
            except DevFlowError as error:
                self._fatal = error
            self._say_goodbye()
        if self._fatal is not None:
            raise self._fatal

    def _over(self) -> bool:
        if self._halting:
            return True
        if not self._pulse.draining or self._crew:
            return False
        now = self.clock.now()
        self._drained_at = self._drained_at or now
        return not self.courier.waiting() or now >= self._drained_at + self.settings.pace.farewell

    def _step(self) -> None:
        now = self.clock.now()
        silent = self._give_up_when_cut_off(now)
        free = self.settings.concurrency - len(self._crew)
        act, wait = self._pulse.next(now, running=len(self._held()), free=free)
        if act is Act.WAIT:
            due = [wait, *([silent] if len(self._crew) else [])]
            if self._drained_at is not None:
                due.append(self._drained_at + self.settings.pace.farewell - now)
            self.clock.wait(self._inbox, max(0.0, min(due)))
            return
        try:
            self._renew_when_old(now)
            if act is Act.BEAT:
                self._beat("draining" if self._pulse.draining else "busy" if free <= 0 else "ready")
            else:
                self._poll(free)
        except UnavailableError as error:
            self._away(now, error)
        except NotLoggedInError:
            self.unauthorized()
        else:
            self._back(now)

    def _beat(self, status: str) -> None:
        body = self._figures() | {"status": status, "instanceId": self.home.instance()}
        if self._pulse.beaten is None:
            body |= {"version": __version__, "concurrency": self.settings.concurrency}
            body |= {"capabilities": list(self.settings.capabilities)} if self.settings.capabilities else {}
        try:
            answer = self.client.send("POST", f"{self._path}/heartbeat", body)
        except RefusedError as error:
            if error.status == _CONFLICT:
                raise AlreadyRunningError(f"{self.home.name} is already running elsewhere: {error.message}") from None
            raise
        if self._pulse.beaten is None:
            self.say(f"{self.home.name} is {answer['status']}")
        self._pulse.beat(self.clock.now())
        for task in answer["cancel"]:
            self._crew.stop(Reason.CANCELLED, "Cancelled", str(task))

    def _poll(self, free: int) -> None:
        answer = self.client.send("GET", f"{self._path}/commands?limit={free}")
        self._pulse.poll(self.clock.now(), float(answer["nextPollInterval"]) / 1000, self._chance())
        known = self._held()
        for given in answer["commands"]:
            try:
                command = Command.of(given)
            except (KeyError, TypeError, ValueError) as error:
                self.say(f"a command that cannot be read was left out: {error!r}")
                continue
            if command.key not in known:  # a claim comes again until its first progress is in
                self._start(command)

    def _start(self, command: Command) -> None:
        self.say(f"{command.id} (attempt {command.attempt}): {command.intent} in {command.repo}")
        self._crew.start(Job(command, self._means))

    def _give_up_when_cut_off(self, now: float) -> float:
        """Stop everything when the platform must take this agent for lost by now; seconds until then."""
        left = self._last_heard + self.settings.pace.silence - now
        if left <= 0 and len(self._crew):
            self._crew.stop(
                Reason.DROPPED, "The platform was out of reach for so long that others have the task by now."
            )
            self._pulse.owe()
            return self.settings.pace.beat
        return max(0.0, left)

    def _renew_when_old(self, now: float) -> None:
        if now >= self._renew_at and self.credentials.old(self.settings.pace.renew):
            self._renew_at = now + min(_RENEW_AGAIN_SECONDS, self.settings.pace.renew)
            self.credentials.renew(self.client)
            self.say("renewed the token")

    def _away(self, now: float, error: UnavailableError) -> None:
        pause = self._pulse.fail(self.clock.now(), self._chance(), error.retry_after)
        if self._away_since is None:
            self._away_since = now
            self.say(f"{error}; trying again, for the first time in {pause:.1f} s")

    def _back(self, now: float) -> None:
        if self._away_since is not None:
            self.say(f"the platform is back, after {now - self._away_since:.0f} s")
            self._away_since = None

    def _say_goodbye(self) -> None:
        if self._fatal is not None:
            self._crew.stop(Reason.HALTED, str(self._fatal))
        self._crew.join(_HALT_SECONDS)
        if waiting := self.courier.waiting():
            self.say(f"{len(waiting)} result(s) are kept in {self.home.directory / 'outbox'} for the next start")
        if isinstance(self._fatal, NotLoggedInError | AlreadyRunningError):
            return
        body = self._figures() | {"status": "disconnected", "instanceId": self.home.instance()}
        with suppress(DevFlowError):  # it will find out by itself
            self._farewell.send("POST", f"{self._path}/heartbeat", body)

    def _figures(self) -> Json:
        held = sorted({task for task, _ in self._held()})
        used = resource.getrusage(resource.RUSAGE_SELF)
        uptime = self.clock.now() - self._started
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        return {
            "taskIds": held,
            "taskCount": len(held),
            "uptime": int(uptime),
            "memoryUsage": used.ru_maxrss * unit // 1_000_000,
            "cpuUsage": round(100 * (used.ru_utime + used.ru_stime) / max(1.0, uptime), 1),
        }

    def _held(self) -> set[tuple[str, int]]:
        """The attempts that this agent stands for: those that it runs, and those whose results wait."""
        return self._crew.keys() | set(self.courier.waiting())

    def _heard(self, at: float) -> None:
        self._last_heard = max(self._last_heard, at)

    @property
    def _path(self) -> str:
        return f"/api/agents/{self.credentials.registration.agent}"
