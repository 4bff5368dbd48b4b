"""Watching a task until it has ended: its steps, its log, its result."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import click

from devflow.cli.context import Invocation, interactive
from devflow.client import Client, Json
from devflow.errors import SettingsError, UnavailableError
from devflow.redact import redacted
from devflow.terminal import one_line, plain

ENDED = frozenset({"completed", "failed", "cancelled"})
LOOK_SECONDS = 1.0
"""Between two looks: two or three calls each, of the thousand a minute that a user has."""
_FLUSH_LOOKS = 3
"""Further looks for the rest of a log after the end: an agent may send it late."""
_MOST_EVENTS = 1000
"""As far as lists go by offset (docs/api.md, "Lists")."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def task_path(task: str) -> str:
    """The address of a task. SettingsError where it can be the id of none."""
    return f"/api/tasks/{safe_id(task, 'a task')}"


def safe_id(given: str, what: str) -> str:
    """An id, which goes into an address as it is. SettingsError where it can be the id of nothing."""
    if not _ID.fullmatch(given) or given in (".", ".."):
        raise SettingsError(f"{one_line(given)!r} is no id of {what}")
    return given


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


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, look: Look) -> None: ...


class Lines:
    """A line for everything that happens: for logs of continuous integration, and for pipes."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def show(self, look: Look) -> None:
        for event in look.events:
            line = f"{event['timestamp']} {event['type'].removeprefix('task.')}"
            line += f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
            self._invocation.note(line + (f": {one_line(event['detail'])}" if event["detail"] else ""))
        for line in look.log.splitlines():
            self._invocation.note(f"  {line}")


def result(invocation: Invocation, client: Client, task: str) -> Json:
    """Watch a task to its end, with steps, progress and log on standard error. The task as it ended."""
    watch = Watch(client, task, note=invocation.note)
    shown: Json = {}
    with _screen(invocation) as screen:
        for look in watch.looks():
            screen.show(look)
            shown = look.task
    return shown


def log(invocation: Invocation, client: Client, task: str) -> None:
    """Print a task's log as it grows, until the task has ended."""
    watch = Watch(client, task, note=invocation.note)
    for look in watch.looks():
        if look.log and invocation.json:
            invocation.line({"attempt": look.task["attempt"], "data": look.log})
        elif look.log:
            click.echo(redacted(plain(look.log)), nl=False)


def _screen(invocation: Invocation) -> AbstractContextManager[Screen]:
    if interactive() and not invocation.json:
        from devflow.cli.bar import Bar  # noqa: PLC0415  # rich takes a while to load

        return Bar()
    from contextlib import nullcontext  # noqa: PLC0415

    return nullcontext(Lines(invocation))
