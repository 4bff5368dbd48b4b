"""A progress bar with the log above it, for terminals."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from devflow.cli.task_watcher import TaskSnapshot
from devflow.redaction import redact
from devflow.terminal import strip_controls, to_one_line


class ProgressBar:
    """Shows one task. It is a context manager, which restores the terminal at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.fields[state]}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[step]}", markup=False), TimeElapsedColumn(),
            console=console or Console(stderr=True),
        )  # fmt: skip
        self._row_id = self._progress.add_task("", total=1.0, state="", step="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, snapshot: TaskSnapshot) -> None:
        for line in snapshot.new_log.splitlines():
            self._progress.console.print(Text(redact(strip_controls(line)), style="dim"))
        task = snapshot.task
        attempt = f" (attempt {task['attempt']})" if task["attempt"] > 1 else ""
        self._progress.update(
            self._row_id,
            completed=task["progress"],
            state=task["status"] + attempt,
            step=to_one_line(task["currentStep"] or ""),
        )
