"""What a program says of itself: steps on the way, and a result at the end (docs/agent.md, "Telling")."""

from collections import deque
from dataclasses import dataclass, field

from devflow.api_client import Json, parse_json_object

PROTOCOL_PREFIX = "::devflow "
"""Before a JSON object, at the beginning of a line: this is for the agent, and does not go into the log."""
RESULT_FIELDS = ("summary", "output", "prUrl")
_MAX_OUTPUT = 180_000
"""Characters: the platform keeps 192 KB."""


@dataclass
class ProgramOutput:
    """Gathers what a program says, line by line."""

    result: Json = field(default_factory=dict)
    """Of `RESULT`, what it has told itself, and `error`."""
    last_line: str = ""
    """The last line that says anything."""

    def __post_init__(self) -> None:
        self._tail: deque[str] = deque()
        self._size = 0

    def add_line(self, line: str) -> Json | None:
        """Take in a line. What it tells the agent; None where it is for the log."""
        if line.startswith(PROTOCOL_PREFIX) and (told := parse_json_object(line.removeprefix(PROTOCOL_PREFIX))) is not None:
            self.result |= {name: told[name] for name in (*RESULT_FIELDS, "error") if isinstance(told.get(name), str)}
            return told
        self.last_line = line.strip() or self.last_line
        self._tail.append(line)
        self._size += len(line) + 1
        while self._size > _MAX_OUTPUT:
            self._size -= len(self._tail.popleft()) + 1
        return None

    @property
    def output(self) -> str:
        """The end of what it printed."""
        return str(self.result.get("output") or "\n".join(self._tail).strip())

    @property
    def summary(self) -> str:
        """What it told as such; else the `result` or `summary` of a JSON object in its last line; else that line."""
        if told := self.result.get("summary"):
            return str(told)
        printed = parse_json_object(self.last_line) or {}
        found = next((printed[name] for name in ("summary", "result") if isinstance(printed.get(name), str)), None)
        return str(found or self.last_line)


def parse_progress(told: Json) -> tuple[str, float | None, str | None]:
    """The step, how far it is and the details, as far as they were told and can be meant."""
    far, details = told.get("progress"), told.get("details")
    usable = isinstance(far, int | float) and not isinstance(far, bool) and 0 <= far <= 1
    step = told.get("step")
    return step if isinstance(step, str) else "", far if usable else None, details if isinstance(details, str) else None
