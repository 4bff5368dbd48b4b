"""TaskAssignment and ProgramOutput."""

from __future__ import annotations

import re

import pytest

from devflow.program_output import ProgramOutput, parse_progress
from devflow.task_assignment import TaskAssignment


def command(task: str = "task-1", attempt: int = 1, intent: str = "fix-bug", **more: object) -> TaskAssignment:
    given = {"task_id": task, "attempt": attempt, "intent": intent, "repo": "https://a.example/r", "branch": None}
    return TaskAssignment.from_json(given | {"description": "Fix it", "context": {}} | more)


HOSTILE = [".", "..", "a:b", "a.lock", "-rf", "...", "A" * 128, "a.b", "a-b", "a_b", ":", "._.", "a..b"]


@pytest.mark.parametrize("task", HOSTILE)
def test_slug_of_any_id_is_valid_for_a_directory_and_a_branch(task: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", command(task).slug)


def test_slugs_of_attempts_are_unique() -> None:
    names = [command(task, attempt).slug for task in [*HOSTILE, "task-1"] for attempt in (1, 2)]
    assert len(set(names)) == len(names)
    assert command("task-1", 2).slug == "task-1-attempt-2"


@pytest.mark.parametrize(
    ("intent", "must_and_may"),
    [
        ("fix-bug", (True, True)),
        ("feature", (True, True)),
        ("explain", (False, False)),
        ("review-pr", (False, False)),
        ("port", (False, True)),
    ],
)
def test_intent_decides_whether_changes_are_required_or_allowed(intent: str, must_and_may: tuple[bool, bool]) -> None:
    assert (command(intent=intent).requires_changes, command(intent=intent).allows_changes) == must_and_may


def test_invalid_assignment_raises_an_error() -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        TaskAssignment.from_json({"task_id": "a"})
    with pytest.raises((KeyError, ValueError, TypeError)):
        command(context="text")


def told(*lines: str) -> ProgramOutput:
    heard = ProgramOutput()
    for line in lines:
        heard.add_line(line)
    return heard


def test_events_are_not_part_of_the_log() -> None:
    heard = ProgramOutput()

    assert heard.add_line("working") is None
    assert heard.add_line('::devflow {"step": "Testing", "progress": 0.5}') == {"step": "Testing", "progress": 0.5}
    assert heard.add_line("::devflow no JSON") is None, "whatever else begins so is shown"
    assert heard.add_line("::devflow [1]") is None
    assert heard.output == "working\n::devflow no JSON\n::devflow [1]"


@pytest.mark.parametrize(
    ("lines", "summary"),
    [
        (["working", "Fixed it", ""], "Fixed it"),
        (["Fixed it", '::devflow {"summary": "told"}', "more"], "told"),
        (['{"type": "result", "result": "Fixed by claude"}'], "Fixed by claude"),
        (['{"summary": "of a script"}'], "of a script"),
        (['{"other": 1}'], '{"other": 1}'),
        ([], ""),
    ],
)
def test_summary_comes_from_an_event_or_from_the_last_line(lines: list[str], summary: str) -> None:
    assert told(*lines).summary == summary


def test_end_of_a_long_output_is_kept() -> None:
    heard = told(*(f"line {number} {'x' * 1000}" for number in range(1000)))

    assert len(heard.output) < 180_000
    assert heard.output.rpartition("\n")[2].startswith("line 999 ")


def test_program_may_send_its_own_result() -> None:
    heard = told('::devflow {"output": "whole", "prUrl": "https://a.example/pull/1", "error": 5, "other": "x"}')

    assert heard.output == "whole"
    assert heard.result == {"output": "whole", "prUrl": "https://a.example/pull/1"}


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ({"step": "A", "progress": 0.5, "details": "d"}, ("A", 0.5, "d")),
        ({"step": 5, "progress": "half", "details": []}, ("", None, None)),
        ({"progress": 2}, ("", None, None)),
        ({"progress": True}, ("", None, None)),
        ({"progress": float("nan")}, ("", None, None)),
    ],
)
def test_invalid_progress_is_ignored(said: dict[str, object], understood: object) -> None:
    assert parse_progress(said) == understood
