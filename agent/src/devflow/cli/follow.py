"""Following a task until it has ended, on the screen: its steps, its log, its result."""

from contextlib import AbstractContextManager
from typing import Protocol

import click

from devflow.cli.invocation import Invocation, is_interactive
from devflow.cli.task_watcher import TaskSnapshot, TaskWatcher
from devflow.api_client import ApiClient, Json
from devflow.redaction import redact
from devflow.terminal import to_one_line, strip_controls


class ProgressView(Protocol):
    """Where progress is shown."""

    def update(self, snapshot: TaskSnapshot) -> None: ...


class EventLines:
    """A line for everything that happens: for logs of continuous integration, and for pipes."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def update(self, snapshot: TaskSnapshot) -> None:
        for event in snapshot.new_events:
            line = f"{event['timestamp']} {event['type'].removeprefix('task.')}"
            line += f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
            self._invocation.print_note(line + (f": {to_one_line(event['detail'])}" if event["detail"] else ""))
        for line in snapshot.new_log.splitlines():
            self._invocation.print_note(f"  {line}")


def follow_task(invocation: Invocation, client: ApiClient, task_id: str) -> Json:
    """Watch a task to its end, with steps, progress and log on standard error. The task as it ended."""
    watch = TaskWatcher(client, task_id, note=invocation.print_note)
    shown: Json = {}
    with _choose_view(invocation) as screen:
        for look in watch.snapshots():
            screen.update(look)
            shown = look.task
    return shown


def follow_log(invocation: Invocation, client: ApiClient, task_id: str) -> None:
    """Print a task's log as it grows, until the task has ended."""
    watch = TaskWatcher(client, task_id, note=invocation.print_note)
    for look in watch.snapshots():
        if look.new_log and invocation.json:
            invocation.print_json({"attempt": look.task["attempt"], "data": look.new_log})
        elif look.new_log:
            click.echo(redact(strip_controls(look.new_log)), nl=False)


def _choose_view(invocation: Invocation) -> AbstractContextManager[ProgressView]:
    if is_interactive() and not invocation.json:
        from devflow.cli.progress_bar import ProgressBar  # noqa: PLC0415  # rich takes a while to load

        return ProgressBar()
    from contextlib import nullcontext  # noqa: PLC0415

    return nullcontext(EventLines(invocation))
