"""What a call costs: its requests to AWS, and the read and write units that they consumed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support import wire
from tests.support.environment import STAGE


@dataclass(frozen=True)
class Cost:
    """The requests of one call in order, as `UpdateItem agents` or `SendMessage workflow`, and their units together.

    Units mean something on DynamoDB Local (and AWS) only.
    """

    requests: tuple[str, ...]
    read: float
    write: float
    sent: wire.Sent
    """The requests themselves, for whoever wants to look closer."""

    @property
    def operations(self) -> str:
        """For people, each kind once: `UpdateItem tasks, 4 x Query agents`."""
        kinds = Counter(self.requests)
        return ", ".join(kind if many == 1 else f"{many} x {kind}" for kind, many in kinds.items())


def measured(call: Callable[[], Any]) -> Cost:
    """What `call` costs. AssertionError where it answers with an error: that would be cheap."""
    with wire.recorded() as sent:
        answer = call()
    assert getattr(answer, "status", 200) < 300, answer
    read, write = sent.units
    return Cost(tuple(_told(request) for request in sent), read, write, sent)


def _told(request: wire.Request) -> str:
    names = request.tables or [str(request.params.get("QueueUrl", "")).rpartition("/")[2]]
    return f"{request.operation} {'+'.join(name.removeprefix(f'devflow-{STAGE}-') for name in names)}".rstrip()


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lines with columns under each other; numbers to the right."""
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
