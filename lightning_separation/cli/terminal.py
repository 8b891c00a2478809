"""A report as text."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..tables import Table, printable
from .report import Report, kinds

_UNBROKEN = 10_000  # columns: what goes to a file or another program is not wrapped


def show(report: Report) -> None:
    """Print a report; in colour and as wide as it is on a terminal."""
    wide = Console(highlight=False, width=_UNBROKEN)  # a table that is too wide is broken by the terminal, not cut
    console = Console(highlight=False) if sys.stdout.isatty() else wide
    console.print(_text(report.title, "bold"), *(_text(line, "dim") for line in report.about), "", sep="\n")
    console.print(*(_text(line) for line in report.conclusion), sep="\n")
    for section in report.sections:
        console.print("", _text(section.heading, "bold"), sep="\n")
        if section.table:
            wide.print(_grid(section.table))
            console.print(_text(section.table.caption, "dim"))
        for line in section.lines:
            console.print(_text(line))


def _grid(table: Table) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name, kind in zip(table.header, kinds(table), strict=True):
        grid.add_column(_text(name), justify="right" if kind == "number" else "left", no_wrap=kind == "blocks")
    for row in table.rows:
        grid.add_row(*(_text(cell) for cell in row))
    return grid


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)
