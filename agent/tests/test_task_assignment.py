"""TaskAssignment."""

from __future__ import annotations

import re

import pytest

from devflow.task_assignment import TaskAssignment


def make_assignment(
    task_id: str = "task-1", attempt: int = 1, intent: str = "fix-bug", **more: object
) -> TaskAssignment:
    raw = {"task_id": task_id, "attempt": attempt, "intent": intent, "repo": "https://a.example/r", "branch": None}
    return TaskAssignment.from_json(raw | {"description": "Fix it", "context": {}} | more)


HOSTILE = [".", "..", "a:b", "a.lock", "-rf", "...", "A" * 128, "a.b", "a-b", "a_b", ":", "._.", "a..b"]


@pytest.mark.parametrize("task", HOSTILE)
def test_slug_of_any_id_is_valid_for_a_directory_and_a_branch(task: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", make_assignment(task).slug)


def test_slugs_of_attempts_are_unique() -> None:
    names = [make_assignment(task, attempt).slug for task in [*HOSTILE, "task-1"] for attempt in (1, 2)]
    assert len(set(names)) == len(names)
    assert make_assignment("task-1", 2).slug == "task-1-attempt-2"


@pytest.mark.parametrize(
    ("intent", "requires_and_allows"),
    [
        ("fix-bug", (True, True)),
        ("feature", (True, True)),
        ("explain", (False, False)),
        ("review-pr", (False, False)),
        ("port", (False, True)),
    ],
)
def test_intent_decides_whether_changes_are_required_or_allowed(
    intent: str, requires_and_allows: tuple[bool, bool]
) -> None:
    assert (
        make_assignment(intent=intent).requires_changes,
        make_assignment(intent=intent).allows_changes,
    ) == requires_and_allows


def test_invalid_assignment_raises_an_error() -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        TaskAssignment.from_json({"task_id": "a"})
    with pytest.raises((KeyError, ValueError, TypeError)):
        make_assignment(context="text")
