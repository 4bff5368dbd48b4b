"""A task as the platform gives it to an agent (docs/protocol.md, "Poll")."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from devflow.api_client import Json

FIX_BUG, FEATURE, EXPLAIN, REVIEW_PR = "fix-bug", "feature", "explain", "review-pr"
CAPABILITIES = (FIX_BUG, FEATURE, EXPLAIN, REVIEW_PR)


@dataclass(frozen=True)
class TaskAssignment:
    """One attempt at a task. All in it but `id` and `attempt` was written by somebody else, not to be trusted."""

    task_id: str
    attempt: int
    intent: str
    repo: str
    branch: str | None
    description: str
    context: Json = field(default_factory=dict)
    raw: Json = field(default_factory=dict)
    """As it came, for the engine."""

    @classmethod
    def from_json(cls, given: Json) -> "TaskAssignment":
        """Raises KeyError, TypeError or ValueError where this is no command."""
        return cls(
            str(given["task_id"]),
            int(given["attempt"]),
            str(given["intent"]),
            str(given["repo"]),
            given.get("branch") or None,
            str(given["description"]),
            dict(given.get("context") or {}),
            given,
        )

    @property
    def attempt_key(self) -> tuple[str, int]:
        """What it is known by: the same task may come again, as another attempt."""
        return self.task_id, self.attempt

    @property
    def slug(self) -> str:
        """A name for a directory, a file or part of a branch, which no other attempt has: letters, digits, `-` and `_`.

        Ids may be `..`, end with `.lock` or differ in nothing but a sign that names cannot have; so where one is not
        plain, part of its hash is added.
        """
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", self.task_id).strip("-")[:80]
        if plain != self.task_id:
            plain = f"{plain}-{hashlib.sha256(self.task_id.encode()).hexdigest()[:8]}".lstrip("-")
        return f"{plain}-attempt-{self.attempt}"

    @property
    def requires_changes(self) -> bool:
        """Whether it is done only if something in the repository has changed."""
        return self.intent in (FIX_BUG, FEATURE)

    @property
    def allows_changes(self) -> bool:
        """Whether changes are pushed. What is to be explained or reviewed stays as it is."""
        return self.intent not in (EXPLAIN, REVIEW_PR)

    def get_context_text(self, name: str) -> str:
        """A text of the context, or nothing."""
        value: Any = self.context.get(name)
        return value if isinstance(value, str) else ""
