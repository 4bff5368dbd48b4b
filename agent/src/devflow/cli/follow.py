"""Follows a task on the screen until it has ended: its steps, its log and its result."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import click

from devflow.api_client import ApiClient, Json
from devflow.cli.invocation import Invocation, is_interactive
from devflow.cli.task_watcher import TaskSnapshot, TaskWatcher
from devflow.redaction import redact
from devflow.terminal import strip_controls, to_one_line


class ProgressView(Protocol):
    """Shows the progress of a task."""

    def update(self, snapshot: TaskSnapshot) -> None: ...


class EventLines:
    """Prints one line for each event, for the logs of continuous integration and for pipes."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def update(self, snapshot: TaskSnapshot) -> None:
        for event in snapshot.new_events:
            line = f"{event['timestamp']} {event['type'].removeprefix('task.')}"
            line += f" (attempt {event['attempt']})" if event["attempt"] > 1 else ""
            self._invocation.print_note(line + (f": {to_one_line(event['detail'])}" if event["detail"] else ""))
        for line in snapshot.new_log.splitlines():
            self._invocation.print_note(f"  {line}")


WAITING_NOTICE_AFTER = 5.0
"""Seconds of waiting after which the reason is printed. Most tasks are claimed earlier."""


@dataclass
class WaitingNotice:
    """Prints once why a task waits, if it has waited for some seconds."""

    print_note: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    is_printed: bool = False
    started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = self.clock()

    def update(self, task: Json) -> None:
        reason = task.get("waitingReason")
        if reason and not self.is_printed and self.clock() - self.started_at >= WAITING_NOTICE_AFTER:
            self.is_printed = True
            self.print_note(f"The task waits. {to_one_line(reason['message'])}")


def follow_task(invocation: Invocation, client: ApiClient, task_id: str) -> Json:
    """Show steps, progress and log on standard error until the task has ended. Returns the ended task."""
    watcher = TaskWatcher(client, task_id, print_note=invocation.print_note)
    notice = WaitingNotice(invocation.print_note)
    task: Json = {}
    with _choose_view(invocation) as view:
        for snapshot in watcher.snapshots():
            view.update(snapshot)
            notice.update(snapshot.task)
            task = snapshot.task
    return task


def follow_log(invocation: Invocation, client: ApiClient, task_id: str) -> None:
    """Print a task's log as it grows, until the task has ended."""
    watcher = TaskWatcher(client, task_id, print_note=invocation.print_note)
    for snapshot in watcher.snapshots():
        if snapshot.new_log and invocation.json:
            invocation.print_json({"attempt": snapshot.task["attempt"], "data": snapshot.new_log})
        elif snapshot.new_log:
            click.echo(redact(strip_controls(snapshot.new_log)), nl=False)


def _choose_view(invocation: Invocation) -> AbstractContextManager[ProgressView]:
    if is_interactive() and not invocation.json:
        from devflow.cli.progress_bar import ProgressBar  # noqa: PLC0415  # rich is slow to import

        return ProgressBar()
    from contextlib import nullcontext  # noqa: PLC0415

    return nullcontext(EventLines(invocation))
