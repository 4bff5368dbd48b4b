"""A task as an agent has it: its name, and what is to come of it."""

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
def test_its_name_is_good_for_a_directory_and_a_branch_whatever_its_id(task: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", command(task).slug)


def test_no_two_attempts_have_one_name() -> None:
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
def test_what_an_intent_ends_with(intent: str, must_and_may: tuple[bool, bool]) -> None:
    assert (command(intent=intent).requires_changes, command(intent=intent).allows_changes) == must_and_may


def test_what_is_no_command_is_said() -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        TaskAssignment.from_json({"task_id": "a"})
    with pytest.raises((KeyError, ValueError, TypeError)):
        command(context="text")


def told(*lines: str) -> ProgramOutput:
    heard = ProgramOutput()
    for line in lines:
        heard.add_line(line)
    return heard


def test_what_a_program_tells_the_agent_is_not_for_the_log() -> None:
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
def test_the_summary_is_what_was_told_else_the_last_line(lines: list[str], summary: str) -> None:
    assert told(*lines).summary == summary


def test_the_end_of_a_long_output_is_kept() -> None:
    heard = told(*(f"line {number} {'x' * 1000}" for number in range(1000)))

    assert len(heard.output) < 180_000
    assert heard.output.rpartition("\n")[2].startswith("line 999 ")


def test_a_program_may_tell_its_own_result() -> None:
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
def test_progress_that_cannot_be_meant_is_left_out(said: dict[str, object], understood: object) -> None:
    assert parse_progress(said) == understood
