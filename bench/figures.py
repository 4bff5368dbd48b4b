"""What every call requests from AWS and what it costs, as `make bench ARGS=capacity` last measured it. Stored in
bench/figures.json.

docs/cost.md is computed from these figures. tests/http/test_figures.py compares them with the app.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Figures:
    """Figures of one call, or of one run of a handler."""

    reached: str
    """The route (`GET /api/tasks`) or the handler (`sweep`)."""
    requests: list[str]
    """The requests to AWS, in order, as `UpdateItem agents`."""
    read: float
    """Read units that DynamoDB bills."""
    write: float
    """Write units that DynamoDB bills."""
    log: int
    """Bytes of the function's own log lines. The lines that Lambda adds are not included."""
    answer: int
    """Bytes of the response with its headers. 0 for a handler."""
    cpu: float
    """Milliseconds of CPU time on the machine that measured it, with connections already open."""


def load(path: Path = FILE) -> dict[str, Figures]:
    """The figures by the names of calls in tests/http/budget_calls.py."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: Figures(**each) for name, each in stored.items()}


def save(measured: dict[str, Figures], path: Path = FILE) -> None:
    """Write one line for each call, so that a diff shows which calls have changed."""
    lines = [f"{json.dumps(name)}: {json.dumps(asdict(each))}" for name, each in measured.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
