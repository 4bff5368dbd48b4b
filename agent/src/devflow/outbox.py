"""Results that the platform has not accepted yet, on disk. They survive a crash of the agent and a power cut."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devflow.api_client import Json
from devflow.errors import DevFlowError
from devflow.private_files import read_private, remove_file, write_private


@dataclass(frozen=True)
class TaskResult:
    """How an attempt ended: the body of one report, which is sent until the platform responds."""

    task_id: str
    attempt: int
    slug: str
    """The name of the attempt in file names."""
    kind: Literal["complete", "fail"]
    body: Json

    @property
    def attempt_key(self) -> tuple[str, int]:
        return self.task_id, self.attempt

    def to_json(self) -> Json:
        """Return the contents of the result's file. Its names do not change: such files outlive an upgrade."""
        return {
            "task": self.task_id, "attempt": self.attempt, "name": self.slug, "kind": self.kind, "body": self.body,
        }  # fmt: skip

    @classmethod
    def from_json(cls, stored: Json) -> "TaskResult":
        """Read the contents of a result's file. Raises KeyError or TypeError if they are not valid."""
        return cls(stored["task"], stored["attempt"], stored["name"], stored["kind"], stored["body"])


class Outbox:
    """A directory with one file for each result. The first result creates it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, result: TaskResult) -> None:
        """Write the result to disk and sync it. If the attempt already has a result, the first one stays."""
        if not self._path(result).exists():
            write_private(self._path(result), json.dumps(result.to_json()))

    def load_all(self) -> list[TaskResult]:
        """Return the stored results, the oldest first. Files that are not valid results are left alone."""
        results = []
        for path in sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                results.append(TaskResult.from_json(json.loads(read_private(path) or "")))
            except (ValueError, KeyError, TypeError, DevFlowError):
                continue
        return results

    def remove(self, result: TaskResult) -> None:
        remove_file(self._path(result))

    def _path(self, result: TaskResult) -> Path:
        return self._directory / f"{result.slug}.json"
