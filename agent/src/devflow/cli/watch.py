"""A task as it comes, look by look."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from devflow.cli.ids import task_path
from devflow.client import Client, Json
from devflow.errors import UnavailableError

ENDED = frozenset({"completed", "failed", "cancelled"})
LOOK_SECONDS = 1.0
"""Between two looks: two or three calls each, of the thousand a minute that a user has."""
_FLUSH_LOOKS = 3
"""Further looks for the rest of a log after the end: an agent may send it late."""
_MOST_EVENTS = 1000
"""As far as lists go by offset (docs/api.md, "Lists")."""


class Look(NamedTuple):
    """What there is to see of a task at one time."""

    task: Json
    log: str
    """What is new in it."""
    events: list[Json]
    """What is new in the timeline."""


@dataclass
class Watch:
    """A task as it comes, look by look."""

    client: Client
    task: str
    sleep: Callable[[float], None] = time.sleep
    note: Callable[[str], None] = lambda _text: None
    attempt: int = 0
    offset: int = 0
    """Of its log, in bytes."""
    seen: int = 0
    """Of its timeline."""

    def looks(self) -> Iterator[Look]:
        """What there is to see, about every second, until the task has ended and its log was read.

        A platform that cannot be reached is waited for. Raises RefusedError, NotLoggedInError.
        """
        late, before = _FLUSH_LOOKS, ""
        while True:
            shown = self._patiently(task_path(self.task))
            ended = shown["status"] in ENDED
            if shown["attempt"] != self.attempt:
                self.attempt, self.offset = shown["attempt"], 0
            page = self._patiently(f"{task_path(self.task)}/logs?offset={self.offset}&attempt={self.attempt}")
            self.offset = page["nextOffset"]
            events = self._events() if shown["updatedAt"] != before or ended else []
            before = shown["updatedAt"]
            yield Look(shown, page["data"], events)
            if page["data"]:
                continue
            if ended:
                late -= 1
                if late == 0 or not shown["startedAt"] or page["complete"]:
                    return
            self.sleep(LOOK_SECONDS)

    def _events(self) -> list[Json]:
        """What is new in the timeline; the first thousand things of it."""
        if self.seen >= _MOST_EVENTS:
            return []
        found: list[Json] = self._patiently(f"{task_path(self.task)}/events?limit=100&offset={self.seen}")["data"]
        self.seen += len(found)
        return found

    def _patiently(self, path: str) -> Json:
        while True:
            try:
                return self.client.ask("GET", path)
            except UnavailableError as error:
                if error.strange:
                    raise
                self.note(f"{error}; still trying")
