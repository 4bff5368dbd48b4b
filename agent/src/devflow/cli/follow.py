"""Watching a task until it has ended: its steps, its log, its result."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import click

from devflow.cli.context import Invocation, interactive
from devflow.client import Client, Json
from devflow.errors import SettingsError, UnavailableError
from devflow.redact import redacted
from devflow.terminal import one_line, plain

ENDED = frozenset({"completed", "failed", "cancelled"})
LOOK_SECONDS = 1.0
"""Between two looks: two calls each, of the thousand a minute that a user has."""
_FLUSH_LOOKS = 3
"""Further looks for the rest of a log after the end: an agent may send it late."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def task_path(task: str) -> str:
    """The address of a task. SettingsError where it can be the id of none."""
    if not _ID.fullmatch(task) or task in (".", ".."):
        raise SettingsError(f"{one_line(task)!r} is no id of a task")
    return f"/api/tasks/{task}"


@dataclass
class Watch:
    """A task as it comes, look by look."""

    client: Client
    task: str
    sleep: Callable[[float], None] = time.sleep
    note: Callable[[str], None] = lambda _text: None
    attempt: int = 0
    offset: int = 0
    ended: bool = field(default=False, init=False)

    def looks(self) -> Iterator[tuple[Json, str]]:
        """The task and what is new in its log, about every second, until it has ended and its log was read.

        A platform that cannot be reached is waited for. Raises RefusedError, NotLoggedInError.
        """
        late = _FLUSH_LOOKS
        while True:
            shown = self._patiently(task_path(self.task))
            self.ended = shown["status"] in ENDED
            if shown["attempt"] != self.attempt:
                self.attempt, self.offset = shown["attempt"], 0
            page = self._patiently(f"{task_path(self.task)}/logs?offset={self.offset}&attempt={self.attempt}")
            self.offset = page["nextOffset"]
            yield shown, page["data"]
            if page["data"]:
                continue
            if self.ended:
                late -= 1
                if late == 0 or not shown["startedAt"] or page["complete"]:
                    return
            self.sleep(LOOK_SECONDS)

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

    def update(self, shown: Json) -> None: ...

    def log(self, text: str) -> None: ...


class Lines:
    """A line for each new step: for logs of continuous integration, and for pipes."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._said = ""

    def update(self, shown: Json) -> None:
        line = f"[{shown['progress']:4.0%}] {shown['status']}"
        line += f" (attempt {shown['attempt']})" if shown["attempt"] > 1 else ""
        line += f": {one_line(shown['currentStep'])}" if shown["currentStep"] and shown["status"] not in ENDED else ""
        if line != self._said:
            self._said = line
            self._invocation.note(line)

    def log(self, text: str) -> None:
        for line in text.splitlines():
            self._invocation.note(f"  {line}")


def result(invocation: Invocation, client: Client, task: str) -> Json:
    """Watch a task to its end, with steps, progress and log on standard error. The task as it ended."""
    watch = Watch(client, task, note=invocation.note)
    shown: Json = {}
    with _screen(invocation) as screen:
        for shown, text in watch.looks():
            screen.log(text)
            screen.update(shown)
    return shown


def log(invocation: Invocation, client: Client, task: str) -> None:
    """Print a task's log as it grows, until the task has ended."""
    watch = Watch(client, task, note=invocation.note)
    for shown, text in watch.looks():
        if text and invocation.json:
            invocation.line({"attempt": shown["attempt"], "data": text})
        elif text:
            click.echo(redacted(plain(text)), nl=False)


def _screen(invocation: Invocation) -> AbstractContextManager[Screen]:
    if interactive() and not invocation.json:
        from devflow.cli.bar import Bar  # noqa: PLC0415  # rich takes a while to load

        return Bar()
    from contextlib import nullcontext  # noqa: PLC0415

    return nullcontext(Lines(invocation))
