"""A progress bar with the end of the log above it, where a person looks."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from devflow.cli.task_watcher import TaskSnapshot
from devflow.redaction import redact
from devflow.terminal import to_one_line, strip_controls


class ProgressBar:
    """Shows one task; a context manager, so that the terminal is whole again afterwards."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.fields[state]}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[step]}", markup=False), TimeElapsedColumn(),
            console=console or Console(stderr=True),
        )  # fmt: skip
        self._task = self._progress.add_task("", total=1.0, state="", step="")

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
        shown = snapshot.task
        attempt = f" (attempt {shown['attempt']})" if shown["attempt"] > 1 else ""
        self._progress.update(
            self._task,
            completed=shown["progress"],
            state=shown["status"] + attempt,
            step=to_one_line(shown["currentStep"] or ""),
        )
