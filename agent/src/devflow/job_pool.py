"""The jobs that an agent runs at the same time. Each job has its own thread."""

import threading
from collections.abc import Callable

from devflow.cancel_token import CancelReason
from devflow.job_runner import JobRunner


class JobPool:
    """The running jobs. Any thread may call the methods."""

    def __init__(self, on_job_end: Callable[[], None]) -> None:
        """`on_job_end` is called after each job, on the job's thread."""
        self._on_job_end = on_job_end
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int], tuple[JobRunner, threading.Thread]] = {}

    def start(self, job: JobRunner) -> None:
        """Start the job of an attempt that is not running yet."""
        thread = threading.Thread(target=self._run, args=(job,), name=job.task.slug, daemon=True)
        with self._lock:
            self._jobs[job.task.attempt_key] = job, thread
        thread.start()

    def running_attempts(self) -> set[tuple[str, int]]:
        """Return task id and attempt of each running job."""
        with self._lock:
            return set(self._jobs)

    def cancel(self, reason: CancelReason, message: str, task_id: str | None = None) -> None:
        """Cancel the jobs of one task, or all jobs."""
        with self._lock:
            jobs = [job for job, _ in self._jobs.values() if task_id in (None, job.task.task_id)]
        for job in jobs:
            job.cancel_token.cancel(reason, message)

    def join(self, seconds: float) -> None:
        """Wait until all jobs have ended, at most `seconds` for each."""
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
