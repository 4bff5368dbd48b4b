"""The jobs that an agent runs at a time, each on a thread of its own."""

import threading
from collections.abc import Callable

from devflow.job_runner import JobRunner
from devflow.cancel_token import CancelReason


class JobPool:
    """All of its functions may be called from any thread."""

    def __init__(self, on_job_end: Callable[[], None]) -> None:
        """`ended` is called after each job, on its thread."""
        self._on_job_end = on_job_end
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int], tuple[JobRunner, threading.Thread]] = {}

    def start(self, job: JobRunner) -> None:
        """Begin an attempt that is not there yet."""
        thread = threading.Thread(target=self._run, args=(job,), name=job.task.slug, daemon=True)
        with self._lock:
            self._jobs[job.task.attempt_key] = job, thread
        thread.start()

    def running_attempts(self) -> set[tuple[str, int]]:
        """The attempts that run."""
        with self._lock:
            return set(self._jobs)

    def cancel(self, reason: CancelReason, message: str, task: str | None = None) -> None:
        """Ask the jobs of a task, or all, to stop."""
        with self._lock:
            jobs = [job for job, _ in self._jobs.values() if task in (None, job.task.task_id)]
        for job in jobs:
            job.cancel_token.cancel(reason, message)

    def join(self, seconds: float) -> None:
        """Wait until they have ended, up to so many seconds for each."""
        with self._lock:
            threads = [thread for _, thread in self._jobs.values()]
        for thread in threads:
            thread.join(seconds)

    def __len__(self) -> int:
        return len(self._jobs)

    def _run(self, job: JobRunner) -> None:
        try:
            job.run()
        finally:
            with self._lock:
                del self._jobs[job.task.attempt_key]
            self._on_job_end()
