"""Reads the output of an engine's program: progress events, the result and the log.

docs/agent.md, "Report progress and results", describes the format. An event is a line of the attempt's marker and a
JSON object. Only the program knows the marker: a file that it prints, or the output of a test, cannot contain events.
"""

import secrets
from collections import deque
from dataclasses import dataclass, field

from devflow.api_client import Json, parse_json_object

PROTOCOL_PREFIX = "::devflow"
"""How markers begin."""
MARKER_VARIABLE = "DEVFLOW_MARKER"
"""The variable with the marker, in the environment of the program."""
RESULT_FIELDS = ("summary", "output", "prUrl")
_MAX_OUTPUT = 180_000
"""Characters. The platform keeps 192 KB."""

_MAX_STEP, _MAX_DETAILS = 1_000, 4_000
"""Characters. The platform keeps 256 and 512 bytes."""


def make_marker() -> str:
    """Return a marker that nobody can guess, for one attempt."""
    return f"{PROTOCOL_PREFIX} {secrets.token_hex(16)}"


@dataclass
class ProgramOutput:
    """Collects the output of a program, line by line."""

    marker: str
    """Begins the lines with events. They are not logged."""
    result: Json = field(default_factory=dict)
    """The values of `RESULT_FIELDS` and `error` that the program sent in events."""
    last_line: str = ""
    """The last line that is not blank."""

    def __post_init__(self) -> None:
        self._tail: deque[str] = deque()
        self._size = 0

    def add_line(self, line: str) -> Json | None:
        """Add a line. Returns the event in it, or None if the line belongs to the log."""
        if (
            line.startswith(f"{self.marker} ")
            and (event := parse_json_object(line.removeprefix(self.marker))) is not None
        ):
            self.result |= {name: event[name] for name in (*RESULT_FIELDS, "error") if isinstance(event.get(name), str)}
            return event
        self.last_line = line.strip() or self.last_line
        self._tail.append(line)
        self._size += len(line) + 1
        while self._size > _MAX_OUTPUT:
            self._size -= len(self._tail.popleft()) + 1
        return None

    @property
    def output(self) -> str:
        """The output that the program sent in an event, or else the end of what it printed."""
        return str(self.result.get("output") or "\n".join(self._tail).strip())[:_MAX_OUTPUT]

    @property
    def summary(self) -> str:
        """The summary that the program sent in an event.

        If there is none: `summary` or `result` of the JSON object in the last line, or else the last line.
        """
        if summary := self.result.get("summary"):
            return str(summary)
        printed = parse_json_object(self.last_line) or {}
        value = next((printed[name] for name in ("summary", "result") if isinstance(printed.get(name), str)), None)
        return str(value or self.last_line)


def parse_progress(event: Json) -> tuple[str, float | None, str | None]:
    """Return step, progress (0 to 1) and details of an event. A value that is missing or not valid is empty or None."""
    step, progress, details = event.get("step"), event.get("progress"), event.get("details")
    valid = isinstance(progress, int | float) and not isinstance(progress, bool) and 0 <= progress <= 1
    return (
        step[:_MAX_STEP] if isinstance(step, str) else "",
        progress if valid else None,
        details[:_MAX_DETAILS] if isinstance(details, str) else None,
    )
