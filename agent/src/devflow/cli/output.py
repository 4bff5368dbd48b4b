"""Prints tables and single objects. On a terminal, tables have colours and fit its width."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from devflow.cli.invocation import is_interactive
from devflow.terminal import strip_controls, to_one_line

_STATUS_STYLES = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "in_progress": "cyan",
    "active": "green", "inactive": "yellow", "error": "red",
}  # fmt: skip


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows. `columns` maps keys to titles.

    In a pipe, each row is a line and tabs separate the cells, so that `cut` and `awk` can read the output.
    """
    cells = [[format_value(row.get(key)) for key in columns] for row in rows]
    if not is_interactive():
        for line in ([title.upper() for title in columns.values()], *cells):
            click.echo("\t".join(line))
        return
    from rich.console import Console  # noqa: PLC0415  # takes a tenth of a second to import, which pipes do not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns.values(), box=None, header_style="bold", pad_edge=False)
    for line in cells:
        table.add_row(*(Text(cell, style=_STATUS_STYLES.get(cell, ""), overflow="ellipsis") for cell in line))
    Console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one line for each field. A text of several lines follows its name. Empty fields are left out."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value in (None, "", [], {}):
            continue
        text = strip_controls(value if isinstance(value, str) else format_value(value)).rstrip()
        if "\n" in text:
            click.echo("\n".join([name, *(f"    {line}" for line in text.splitlines())]))
        else:
            click.echo(f"{name:<{width}}  {text}")


def format_value(value: Any) -> str:
    """Return the text of a value in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(format_value, value)) or "-"
    return to_one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 200)
