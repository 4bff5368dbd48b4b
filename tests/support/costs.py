"""The cost of a call: its requests to AWS, and the read and write units that they consumed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support import aws_requests
from tests.support.environment import STAGE


@dataclass(frozen=True)
class Cost:
    """The requests of one call in order, as `UpdateItem agents` or `SendMessage workflow`, and their total units.

    Units are meaningful only on DynamoDB Local and on AWS.
    """

    requests: tuple[str, ...]
    read: float
    write: float
    sent: aws_requests.RecordedRequests
    """The requests with their parameters and responses."""

    @property
    def operations(self) -> str:
        """A summary with each kind of request once: `UpdateItem tasks, 4 x Query agents`."""
        counts = Counter(self.requests)
        return ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in counts.items())


def measured(call: Callable[[], Any]) -> Cost:
    """The cost of `call`. Raises AssertionError if it returns an error, because an error is cheaper than a success."""
    with aws_requests.recorded() as sent:
        response = call()
    assert getattr(response, "status", 200) < 300, response
    read, write = sent.units
    return Cost(tuple(_describe(request) for request in sent), read, write, sent)


def _describe(request: aws_requests.Request) -> str:
    names = request.tables or [str(request.params.get("QueueUrl", "")).rpartition("/")[2]]
    return f"{request.operation} {'+'.join(name.removeprefix(f'devflow-{STAGE}-') for name in names)}".rstrip()


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A text table with aligned columns. Columns of numbers are aligned to the right."""
    lines = [list(header), *[[_cell(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    right = [all(_is_number(line[column]) for line in lines[1:]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace(",", "").isdigit() or cell in ("", "-")
