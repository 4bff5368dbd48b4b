"""Following a task until it has ended, on the screen: its steps, its log, its result."""

from contextlib import AbstractContextManager
from typing import Protocol

import click

from devflow.cli.context import Invocation, interactive
from devflow.cli.watch import Look, Watch
from devflow.client import Client, Json
from devflow.redact import redacted
from devflow.terminal import one_line, plain


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
