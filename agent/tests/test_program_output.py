"""ProgramOutput: events, the result and the log of an engine."""

from __future__ import annotations

import pytest

from devflow.program_output import ProgramOutput, parse_progress


def read_lines(*lines: str) -> ProgramOutput:
    output = ProgramOutput()
    for line in lines:
        output.add_line(line)
    return output


def test_events_are_not_part_of_the_log() -> None:
    output = ProgramOutput()

    assert output.add_line("working") is None
    assert output.add_line('::devflow {"step": "Testing", "progress": 0.5}') == {"step": "Testing", "progress": 0.5}
    assert output.add_line("::devflow no JSON") is None, "other lines with the prefix are logged"
    assert output.add_line("::devflow [1]") is None
    assert output.output == "working\n::devflow no JSON\n::devflow [1]"


@pytest.mark.parametrize(
    ("lines", "summary"),
    [
        (["working", "Fixed it", ""], "Fixed it"),
        (["Fixed it", '::devflow {"summary": "reported"}', "more"], "reported"),
        (['{"type": "result", "result": "Fixed by claude"}'], "Fixed by claude"),
        (['{"summary": "of a script"}'], "of a script"),
        (['{"other": 1}'], '{"other": 1}'),
        ([], ""),
    ],
)
def test_summary_comes_from_an_event_or_from_the_last_line(lines: list[str], summary: str) -> None:
    assert read_lines(*lines).summary == summary


def test_end_of_a_long_output_is_kept() -> None:
    output = read_lines(*(f"line {number} {'x' * 1000}" for number in range(1000)))

    assert len(output.output) < 180_000
    assert output.output.rpartition("\n")[2].startswith("line 999 ")


def test_program_may_send_its_own_result() -> None:
    output = read_lines('::devflow {"output": "whole", "prUrl": "https://a.example/pull/1", "error": 5, "other": "x"}')

    assert output.output == "whole"
    assert output.result == {"output": "whole", "prUrl": "https://a.example/pull/1"}


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        ({"step": "A", "progress": 0.5, "details": "d"}, ("A", 0.5, "d")),
        ({"step": 5, "progress": "half", "details": []}, ("", None, None)),
        ({"progress": 2}, ("", None, None)),
        ({"progress": True}, ("", None, None)),
        ({"progress": float("nan")}, ("", None, None)),
    ],
)
def test_invalid_progress_is_ignored(event: dict[str, object], parsed: object) -> None:
    assert parse_progress(event) == parsed
