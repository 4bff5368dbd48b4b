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

from devflow.backoff import pause
from devflow.client import Client, Json
from devflow.clock import Clock
from devflow.errors import DevFlowError, NotLoggedInError, RefusedError, UnavailableError
from devflow.files import read_private, remove, write_private

_TOO_LARGE, _INVALID = 413, 400


@dataclass(frozen=True)
class Result:
    """How an attempt ended: one report, made once and sent until it is answered."""

    task: str
    attempt: int
    name: str
    """Of the attempt, as a file is named after it."""
    kind: Literal["complete", "fail"]
    body: Json

    @property
    def key(self) -> tuple[str, int]:
        return self.task, self.attempt


class Outbox:
    """A directory with a file for each result; it is made with the first one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, result: Result) -> None:
        """Keep it; when this returns, it survives a power cut. The first result of an attempt counts."""
        if not self._path(result).exists():
            write_private(self._path(result), json.dumps(asdict(result)))

    def all(self) -> list[Result]:
        """Those that wait, the oldest first. What cannot be read (no file of ours is so) is left alone."""
        found = []
        for path in sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                found.append(Result(**json.loads(read_private(path) or "")))
            except (ValueError, TypeError, DevFlowError):
                continue
        return found

    def remove(self, result: Result) -> None:
        remove(self._path(result))

    def _path(self, result: Result) -> Path:
        return self._directory / f"{result.name}.json"


class Verdict(Enum):
    """What an answer means for a result."""

    TAKEN = "taken"
    REFUSED = "refused"
    """The task is not this agent's any more, or has ended: the result is void."""
    SHORTER = "shorter"
    """Send less."""


def verdict(result: Result, error: RefusedError | None) -> Verdict:
    """docs/protocol.md, "What to do on each status"."""
    if error is None:
        return Verdict.TAKEN
    if error.status == _TOO_LARGE or (error.status == _INVALID and result.kind == "complete"):
        return Verdict.SHORTER
    return Verdict.REFUSED


def shorter(result: Result, error: RefusedError) -> Result:
    """The same outcome with less in it, so that a task never hangs because its result is not accepted."""
    if error.status == _TOO_LARGE and "output" in result.body:
        body = {name: value for name, value in result.body.items() if name != "output"}
        return Result(result.task, result.attempt, result.name, result.kind, body)
    body = {"error": f"The result was refused: {error}"[:1_000], "attempt": result.attempt}
    return Result(result.task, result.attempt, result.name, "fail", body)


class Courier:
    """Sends what is in the outbox, one after the other, on a thread of its own, until all was taken."""

    def __init__(
        self,
        outbox: Outbox,
        client: Client,
        say: Callable[[str], None],
        *,
        unauthorized: Callable[[], None] = lambda: None,
        settled: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        """`say` tells whoever reads the agent's log what became of a result; `settled` is called after each."""
        self._outbox, self._client, self._say = outbox, client, say
        self._unauthorized, self._settled = unauthorized, settled
        self._clock, self._chance = clock or Clock(), chance
        self._inbox: SimpleQueue[bool] = SimpleQueue()
        self._waiting: dict[tuple[str, int], Result] = {result.key: result for result in outbox.all()}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def deliver(self, result: Result) -> None:
        """Take it over. It is in the outbox already."""
        with self._lock:
            self._waiting[result.key] = result
        self._inbox.put(item=True)

    def waiting(self) -> list[tuple[str, int]]:
        """The attempts whose results were not taken yet: this agent still stands for them."""
        with self._lock:
            return list(self._waiting)

    def _serve(self) -> None:
        failures = 0
        while True:
            with self._lock:
                result = next(iter(self._waiting.values()), None)
            if result is None:
                self._clock.wait(self._inbox, 3600.0)
                continue
            try:
                self._client.send("POST", f"/api/tasks/{result.task}/{result.kind}", result.body)
            except (UnavailableError, NotLoggedInError) as error:
                if isinstance(error, NotLoggedInError):
                    self._unauthorized()
                failures += 1
                after = error.retry_after if isinstance(error, UnavailableError) else None
                self._pause(pause(failures, self._chance(), after))
            except RefusedError as error:
                failures = 0
                self._settle(result, error)
            else:
                failures = 0
                self._settle(result, None)

    def _pause(self, seconds: float) -> None:
        """Wait, whatever else is put into the outbox meanwhile."""
        end = self._clock.now() + seconds
        while (left := end - self._clock.now()) > 0:
            self._clock.wait(self._inbox, left)

    def _settle(self, result: Result, error: RefusedError | None) -> None:
        found = verdict(result, error)
        if error is not None and found is Verdict.SHORTER and (less := shorter(result, error)) != result:
            with self._lock:
                self._waiting[result.key] = less
            return
        if found is Verdict.TAKEN:
            self._say(f"{result.task}: reported")
        else:
            self._say(f"{result.task}: the result of attempt {result.attempt} came too late or is not wanted: {error}")
        self._outbox.remove(result)
        with self._lock:
            del self._waiting[result.key]
        self._settled()
