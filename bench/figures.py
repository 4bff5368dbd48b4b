"""What every call asks of AWS and leaves behind, as `make bench ARGS=capacity` last measured it: bench/figures.json.

docs/cost.md is computed from it. tests/http/test_figures.py holds it against the app, so that it stays true.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Figures:
    """One call, or one run of a handler."""

    reached: str
    """The route (`GET /api/tasks`) or handler (`sweep`)."""
    requests: list[str]
    """To AWS, in order."""
    read: float
    """Units that DynamoDB bills."""
    write: float
    log: int
    """Bytes of its lines in the log, without those that Lambda writes itself."""
    answer: int
    """Bytes that go out, with headers; 0 for a handler."""
    cpu: float
    """Milliseconds of a processor of the machine that it was measured on, with connections kept."""


def load(path: Path = FILE) -> dict[str, Figures]:
    """By the names of tests/http/budget_calls.py."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: Figures(**each) for name, each in stored.items()}


def save(measured: dict[str, Figures], path: Path = FILE) -> None:
    """A line a call, so that what has changed shows in a diff."""
    lines = [f"{json.dumps(name)}: {json.dumps(asdict(each))}" for name, each in measured.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
