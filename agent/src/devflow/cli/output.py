"""Tables and single things, for people; in colour and to the terminal's width where one looks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from devflow.cli.invocation import is_interactive
from devflow.terminal import to_one_line, strip_controls

_STATUS_STYLES = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "in_progress": "cyan",
    "active": "green", "inactive": "yellow", "error": "red",
}  # fmt: skip


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """`columns`: title by key. In a pipe: a line a row, tabs between, so that `cut` and `awk` can read it."""
    cells = [[format_value(row.get(key)) for key in columns] for row in rows]
    if not is_interactive():
        for line in ([title.upper() for title in columns.values()], *cells):
            click.echo("\t".join(line))
        return
    from rich.console import Console  # noqa: PLC0415  # a tenth of a second that only a person should wait for
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(*columns.values(), box=None, header_style="bold", pad_edge=False)
    for line in cells:
        drawn.add_row(*(Text(cell, style=_STATUS_STYLES.get(cell, ""), overflow="ellipsis") for cell in line))
    Console().print(drawn)


def print_fields(thing: Mapping[str, Any]) -> None:
    """One thing, a line a field; long texts below their name. What is empty is left out."""
    width = max(map(len, thing), default=0)
    for name, value in thing.items():
        if value in (None, "", [], {}):
            continue
        text = strip_controls(value if isinstance(value, str) else format_value(value)).rstrip()
        if "\n" in text:
            click.echo("\n".join([name, *(f"    {line}" for line in text.splitlines())]))
        else:
            click.echo(f"{name:<{width}}  {text}")


def format_value(value: Any) -> str:
    """A value in a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(format_value, value)) or "-"
    return to_one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 200)
