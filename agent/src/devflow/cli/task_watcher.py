"""Polls a task and returns what is new: status, log and timeline."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from devflow.api_client import ApiClient, Json
from devflow.cli.ids import task_path
from devflow.errors import UnavailableError

ENDED = frozenset({"completed", "failed", "cancelled"})
POLL_SECONDS = 1.0
"""Between two polls. Each one takes two or three requests, and a user may send a thousand in a minute."""
_FINAL_POLLS = 3
"""Polls for the rest of the log after the task has ended, because an agent may send it late."""
_MAX_EVENTS = 1000
"""The limit of lists with an offset (docs/api.md, "Lists")."""


class TaskSnapshot(NamedTuple):
    """The task at one time, and what is new since the last snapshot."""

    task: Json
    new_log: str
    new_events: list[Json]


@dataclass
class TaskWatcher:
    """Polls one task."""

    client: ApiClient
    task_id: str
    sleep: Callable[[float], None] = time.sleep
    print_note: Callable[[str], None] = lambda _text: None
    log_attempt: int = 0
    """The attempt that `log_offset` belongs to."""
    log_offset: int = 0
    """The bytes of the log that were read."""
    events_seen: int = 0
    """The events of the timeline that were read."""

    def snapshots(self) -> Iterator[TaskSnapshot]:
        """Yield a snapshot about every second, until the task has ended and its log was read.

        Keeps retrying while the platform is unavailable. Raises RequestRejectedError and NotLoggedInError.
        """
        final_polls, updated_at = _FINAL_POLLS, ""
        while True:
            task = self._get_until_available(task_path(self.task_id))
            ended = task["status"] in ENDED
            if task["attempt"] != self.log_attempt:
                self.log_attempt, self.log_offset = task["attempt"], 0
            query = f"offset={self.log_offset}&attempt={self.log_attempt}"
            page = self._get_until_available(f"{task_path(self.task_id)}/logs?{query}")
            self.log_offset = page["nextOffset"]
            events = self._read_new_events() if task["updatedAt"] != updated_at or ended else []
            updated_at = task["updatedAt"]
            yield TaskSnapshot(task, page["data"], events)
            if page["data"]:
                continue
            if ended:
                final_polls -= 1
                if final_polls == 0 or not task["startedAt"] or page["complete"]:
                    return
            self.sleep(POLL_SECONDS)

    def _read_new_events(self) -> list[Json]:
        """Return the new events of the timeline, up to the first thousand in total."""
        if self.events_seen >= _MAX_EVENTS:
            return []
        path = f"{task_path(self.task_id)}/events?limit=100&offset={self.events_seen}"
        events: list[Json] = self._get_until_available(path)["data"]
        self.events_seen += len(events)
        return events

    def _get_until_available(self, path: str) -> Json:
        while True:
            try:
                return self.client.send_with_retries("GET", path)
            except UnavailableError as error:
                if error.not_devflow:
                    raise
                self.print_note(f"{error}; still trying")
