"""A task as the platform assigns it to an agent (docs/protocol.md, "Poll")."""

import hashlib
import re
from dataclasses import dataclass, field

from devflow.api_client import Json

FIX_BUG, FEATURE, EXPLAIN, REVIEW_PR = "fix-bug", "feature", "explain", "review-pr"
CAPABILITIES = (FIX_BUG, FEATURE, EXPLAIN, REVIEW_PR)


@dataclass(frozen=True)
class TaskAssignment:
    """One attempt at a task. The submitter wrote every field but `task_id` and `attempt`: do not trust them."""

    task_id: str
    attempt: int
    intent: str
    repo: str
    branch: str | None
    description: str
    context: Json = field(default_factory=dict)
    raw: Json = field(default_factory=dict)
    """The JSON object as it was received. The engine gets it unchanged."""

    @classmethod
    def from_json(cls, raw: Json) -> "TaskAssignment":
        """Read an element of `commands` from the response of a poll. Raises KeyError, TypeError or ValueError."""
        return cls(
            str(raw["task_id"]),
            int(raw["attempt"]),
            str(raw["intent"]),
            str(raw["repo"]),
            raw.get("branch") or None,
            str(raw["description"]),
            dict(raw.get("context") or {}),
            raw,
        )

    @property
    def attempt_key(self) -> tuple[str, int]:
        """The identity of the attempt. The same task may be assigned again as another attempt."""
        return self.task_id, self.attempt

    @property
    def slug(self) -> str:
        """A unique name of the attempt for directories, files and branches: letters, digits, `-` and `_`.

        A task id may be `..`, may end with `.lock`, or may differ from another one only in a character that names
        cannot contain. If the id has such characters, a part of its hash is appended.
        """
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.task_id).strip("-")[:80]
        if plain != self.task_id:
            plain = f"{plain}-{hashlib.sha256(self.task_id.encode()).hexdigest()[:8]}".lstrip("-")
        return f"{plain}-attempt-{self.attempt}"

    @property
    def requires_changes(self) -> bool:
        """Whether the task fails if nothing in the repository has changed."""
        return self.intent in (FIX_BUG, FEATURE)

    @property
    def allows_changes(self) -> bool:
        """Whether changes are pushed. An explanation or a review changes nothing."""
        return self.intent not in (EXPLAIN, REVIEW_PR)
