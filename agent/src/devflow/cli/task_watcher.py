"""A task as it comes, look by look."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from devflow.cli.ids import task_path
from devflow.api_client import ApiClient, Json
from devflow.errors import UnavailableError

ENDED = frozenset({"completed", "failed", "cancelled"})
POLL_SECONDS = 1.0
"""Between two looks: two or three calls each, of the thousand a minute that a user has."""
_FINAL_POLLS = 3
"""Further looks for the rest of a log after the end: an agent may send it late."""
_MAX_EVENTS = 1000
"""As far as lists go by offset (docs/api.md, "Lists")."""


class TaskSnapshot(NamedTuple):
    """What there is to see of a task at one time."""

    task: Json
    new_log: str
    """What is new in it."""
    new_events: list[Json]
    """What is new in the timeline."""


@dataclass
class TaskWatcher:
    """A task as it comes, look by look."""

    client: ApiClient
    task_id: str
    sleep: Callable[[float], None] = time.sleep
    note: Callable[[str], None] = lambda _text: None
    log_attempt: int = 0
    log_offset: int = 0
    """Of its log, in bytes."""
    events_seen: int = 0
    """Of its timeline."""

    def snapshots(self) -> Iterator[TaskSnapshot]:
        """What there is to see, about every second, until the task has ended and its log was read.

        A platform that cannot be reached is waited for. Raises RefusedError, NotLoggedInError.
        """
        late, before = _FINAL_POLLS, ""
        while True:
            shown = self._get_until_available(task_path(self.task_id))
            ended = shown["status"] in ENDED
            if shown["attempt"] != self.log_attempt:
                self.log_attempt, self.log_offset = shown["attempt"], 0
            page = self._get_until_available(f"{task_path(self.task_id)}/logs?offset={self.log_offset}&attempt={self.log_attempt}")
            self.log_offset = page["nextOffset"]
            events = self._read_new_events() if shown["updatedAt"] != before or ended else []
            before = shown["updatedAt"]
            yield TaskSnapshot(shown, page["data"], events)
            if page["data"]:
                continue
            if ended:
                late -= 1
                if late == 0 or not shown["startedAt"] or page["complete"]:
                    return
            self.sleep(POLL_SECONDS)

    def _read_new_events(self) -> list[Json]:
        """What is new in the timeline; the first thousand things of it."""
        if self.events_seen >= _MAX_EVENTS:
            return []
        found: list[Json] = self._get_until_available(f"{task_path(self.task_id)}/events?limit=100&offset={self.events_seen}")["data"]
        self.events_seen += len(found)
        return found

    def _get_until_available(self, path: str) -> Json:
        while True:
            try:
                return self.client.send_with_retries("GET", path)
            except UnavailableError as error:
                if error.not_devflow:
                    raise
                self.note(f"{error}; still trying")
