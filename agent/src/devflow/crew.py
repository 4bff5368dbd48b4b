"""The jobs that an agent runs at a time, each on a thread of its own."""

import threading
from collections.abc import Callable

from devflow.job import Job
from devflow.stop import Reason


class Crew:
    """All of its functions may be called from any thread."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """`ended` is called after each job, on its thread."""
        self._ended = ended
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int], tuple[Job, threading.Thread]] = {}

    def start(self, job: Job) -> None:
        """Begin an attempt that is not there yet."""
        thread = threading.Thread(target=self._run, args=(job,), name=job.command.name, daemon=True)
        with self._lock:
            self._jobs[job.command.key] = job, thread
        thread.start()

    def keys(self) -> set[tuple[str, int]]:
        """The attempts that run."""
        with self._lock:
            return set(self._jobs)

    def stop(self, reason: Reason, message: str, task: str | None = None) -> None:
        """Ask the jobs of a task, or all, to stop."""
        with self._lock:
            jobs = [job for job, _ in self._jobs.values() if task in (None, job.command.id)]
        for job in jobs:
            job.stop.ask(reason, message)

    def join(self, seconds: float) -> None:
        """Wait until they have ended, up to so many seconds for each."""
        with self._lock:
            threads = [thread for _, thread in self._jobs.values()]
        for thread in threads:
            thread.join(seconds)

    def __len__(self) -> int:
        return len(self._jobs)

    def _run(self, job: Job) -> None:
        try:
            job.run()
        finally:
            with self._lock:
                del self._jobs[job.command.key]
            self._ended()
