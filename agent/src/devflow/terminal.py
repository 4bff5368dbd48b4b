"""Makes text from tasks and programs safe to print, so that it cannot move the cursor of a person's terminal."""

import re

_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def strip_controls(text: str) -> str:
    """Remove terminal sequences and control characters. Line ends and tabs stay."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n")))


def to_one_line(text: str, width: int = 80) -> str:
    """Remove terminal sequences and controls, join the lines, and shorten the result to `width` characters."""
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
